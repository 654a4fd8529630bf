"""Cut-outs of real things (RGBA files, one folder per kind) worn by aligned faces."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oaml_core.data.augment.occlusion import aligned_landmarks
from oaml_core.decoding.decode import FORMATS
from oaml_core.errors import DataError

EYES = ("glasses", "eyeglasses", "sunglasses")
MASKS = ("mask", "masks")
SCARVES = ("scarf", "scarves", "veil")
SUFFIXES = (".png", ".webp")


def cutouts_in(folder: Path) -> dict[str, list[Path]]:
    """Cut-outs by kind.

    Raises:
        DataError: there is no folder, or no kind with files in it.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder of cut-outs {folder}.")
    kinds = {
        kind.name: sorted(file for file in kind.iterdir() if file.suffix.lower() in SUFFIXES)
        for kind in sorted(folder.iterdir())
        if kind.is_dir()
    }
    found = {kind: files for kind, files in kinds.items() if files}
    if not found:
        raise DataError(f"{folder} holds no cut-outs; they lie as kind/file.png, with transparency.")
    return found


def wear(
    image: NDArray[np.uint8],
    landmarks: NDArray[np.float32] | None,
    kind: str,
    cutout: Path,
    generator: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Put a cut-out on a face, where the kind of thing is worn.

    Glasses lie on the line of the eyes, 2.05 to 2.35 times their distance wide; masks reach from the bridge of the nose
    to below the chin, as wide as the jaw; scarves from between nose and mouth downwards; anything else lies anywhere.

    Args:
        image: uint8 [H, W, 3].
        landmarks: [5, 2] in pixels; None or NaN: those of the template.
        kind: name of the cut-out's folder.
        cutout: RGBA file.
        generator: of size and place.

    Returns:
        The image, and its visibility [H, W] in [0, 1].

    Raises:
        DataError: the cut-out has no transparency.
    """
    height, width = image.shape[:2]
    known = landmarks is not None and np.isfinite(landmarks).all()
    points = np.asarray(landmarks if known else aligned_landmarks(width, height), dtype=np.float64)
    with Image.open(cutout, formats=FORMATS) as opened:
        if "A" not in opened.getbands() and "transparency" not in opened.info:
            raise DataError(f"{cutout} has no transparency; cut-outs are RGBA.")
        picture = opened.convert("RGBA")
    wide, high, x, y = _place(kind, points, picture.height / picture.width, (width, height), generator)
    tilt = -math.degrees(math.atan2(*(points[1] - points[0])[::-1]))
    # Colours under full transparency would bleed into the edges: premultiplied while resampled.
    small = picture.convert("RGBa").resize((max(2, round(wide)), max(2, round(high))), Image.Resampling.LANCZOS)
    turned = small.convert("RGBA").rotate(tilt, Image.Resampling.BICUBIC, expand=True)
    layer = Image.new("RGBA", (width, height))
    layer.paste(turned, (round(x - turned.width / 2), round(y - turned.height / 2)))
    opacity = np.asarray(layer, dtype=np.float32)[..., 3:] / 255.0
    light = generator.uniform(0.85, 1.1)
    colours = np.clip(np.asarray(layer, dtype=np.float32)[..., :3] * light, 0, 255)
    covered = image * (1.0 - opacity) + colours * opacity
    return np.asarray(np.rint(covered), dtype=np.uint8), 1.0 - opacity[..., 0]


def _place(
    kind: str, points: NDArray[np.float64], ratio: float, size: tuple[int, int], generator: np.random.Generator
) -> tuple[float, float, float, float]:
    """Width, height and centre of a cut-out of that ratio of height to width."""
    eyes, nose, mouth = (points[0] + points[1]) / 2, points[2], (points[3] + points[4]) / 2
    spread = float(np.hypot(*(points[1] - points[0])))
    if kind in EYES:
        wide = generator.uniform(2.05, 2.35) * spread
        return wide, wide * ratio, float(eyes[0]), float(eyes[1] + 0.06 * spread)
    down = float(mouth[1] - nose[1])
    middle = float((eyes[0] + mouth[0]) / 2)
    if kind in MASKS:
        top, bottom = (
            float(eyes[1] + 0.35 * (nose[1] - eyes[1])),
            float(mouth[1] + generator.uniform(0.95, 1.15) * down),
        )
        return generator.uniform(2.1, 2.35) * spread, bottom - top, middle, (top + bottom) / 2
    if kind in SCARVES:
        wide, top = generator.uniform(2.6, 3.0) * spread, float(nose[1] + generator.uniform(0.2, 0.6) * down)
        high = max(wide * ratio, size[1] - top)
        return wide, high, middle, top + high / 2
    wide = generator.uniform(0.9, 1.5) * spread
    high = min(wide * ratio, 0.6 * size[1])
    x, y = (generator.uniform(0.25, 0.75) * side for side in size)
    return wide, high, x, y
