"""A compared pair as a picture file: both faces, what is taken for covered, and lines between what corresponds."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from oaml_core.inference.compared_pair import MATCH_COLOURS, DrawablePair, centre_of
from oaml_core.photos.photo_face import PhotoFace
from oaml_core.whole_file import written_whole

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
"""Endings of files that pictures are written to."""
FACE = 448
"""Side of each face in the picture, in pixels."""
GAP = 96
PHOTO = 300
"""Height of the photographs above the faces, in pixels."""
CAPTION = 76
"""Least height of a text below the faces, in pixels; it grows with the lines."""
LINE = 28
"""Height of a line of text, in pixels."""
LONGEST = 92
"""Characters of the longest line; a longer one goes on below."""
COVERED = (224, 33, 138)
BACKGROUND = (24, 25, 27)
TEXT = (236, 234, 229)


def draw_pair(pair: DrawablePair, caption: str = "") -> Image.Image:
    """Return the pair side by side; pink covers what the model takes for hidden, thicker lines are stronger matches.

    Args:
        pair: what `compare_pair` found.
        caption: below the faces; lines are kept. Empty: there is nothing below them.
    """
    font = ImageFont.load_default(20)  # it has no ≥
    lines = [part for line in caption.replace("≥", ">=").splitlines() for part in textwrap.wrap(line, LONGEST)]
    height = max(CAPTION, LINE * len(lines) + LINE // 2) if lines else 0
    picture = Image.new("RGB", (2 * FACE + GAP, FACE + height), BACKGROUND)
    for image, visibility, left in zip(pair.images, pair.visibility, (0, FACE + GAP), strict=True):
        picture.paste(_covered_face(image, visibility), (left, 0))
    draw = ImageDraw.Draw(picture)
    # The strongest are drawn last, over the others.
    for (first, second, strength), colour in reversed(list(zip(pair.correspondences, MATCH_COLOURS, strict=False))):
        (x1, y1), (x2, y2) = centre_of(first, pair.grid), centre_of(second, pair.grid)
        start, end = (x1 * FACE, y1 * FACE), (FACE + GAP + x2 * FACE, y2 * FACE)
        draw.line([start, end], fill=colour, width=1 + round(3 * strength))
        for x, y in (start, end):
            draw.ellipse([x - 6, y - 6, x + 6, y + 6], fill=colour, outline=BACKGROUND)
    middle = (picture.width / 2, FACE + height / 2)
    draw.multiline_text(middle, "\n".join(lines), TEXT, font, anchor="mm", align="center", spacing=8)
    return picture


def draw_photos(faces: tuple[PhotoFace, PhotoFace]) -> Image.Image:
    """Draw the photographs that two faces were found in, side by side, with box and points."""
    strip = Image.new("RGB", (2 * FACE + GAP, PHOTO), BACKGROUND)
    for face, left in zip(faces, (0, FACE + GAP), strict=True):
        height, width = face.photo.shape[:2]
        scale = min(FACE / width, PHOTO / height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        step = max(1, int(1 / (3 * scale)))  # three pixels for one are enough in a small picture
        shown = Image.fromarray(face.photo[::step, ::step]).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
        draw = ImageDraw.Draw(shown)
        if face.box is not None:
            draw.rectangle([float(value) for value in face.box * scale], outline=MATCH_COLOURS[0], width=2)
        for x, y in () if face.points is None else face.points * scale:
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=MATCH_COLOURS[1], outline=BACKGROUND)
        strip.paste(shown, (left + (FACE - shown.width) // 2, (PHOTO - shown.height) // 2))
    return strip


def save_pair(
    pair: DrawablePair, path: Path, caption: str = "", faces: tuple[PhotoFace, PhotoFace] | None = None
) -> None:
    """Write the picture, by rename; the format follows the file's ending, one of `PICTURES`.

    Args:
        pair: what is drawn.
        path: of the picture.
        caption: below the faces.
        faces: where they were found: the photographs stand above; None: there were only aligned images.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = draw_pair(pair, caption)
    if faces is not None:
        below, above = picture, draw_photos(faces)
        picture = Image.new("RGB", (below.width, above.height + 8 + below.height), BACKGROUND)
        picture.paste(above, (0, 0))
        picture.paste(below, (0, above.height + 8))
    kind = Image.registered_extensions()[path.suffix.lower()]
    with written_whole(path) as unfinished:
        picture.save(unfinished, kind, compress_level=1)  # a third of the time for a tenth more bytes (PNG)


def _covered_face(image: NDArray[np.uint8], visibility: NDArray[np.float32]) -> Image.Image:
    face = Image.fromarray(image).resize((FACE, FACE), Image.Resampling.BICUBIC)
    opacity = np.clip(0.6 * 255 * (1.0 - visibility), 0, 255).astype(np.uint8)
    mask = Image.fromarray(opacity).resize((FACE, FACE), Image.Resampling.NEAREST)
    return Image.composite(Image.new("RGB", face.size, COVERED), face, mask)
