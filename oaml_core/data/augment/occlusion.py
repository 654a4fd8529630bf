"""Occluders on faces, drawn or cut out, with the visibility mask that belongs to them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from oaml_core.config.occluders import CUTOUT, GROUPS, WITHOUT_ARTWORK, mistake_in, parts_of
from oaml_core.data.augment.cutouts import KEY, WHAT, Cutouts
from oaml_core.data.augment.drawings.canvas import Floats
from oaml_core.data.augment.occluder_artwork import Split, artwork_of
from oaml_core.data.augment.occluder_artwork_raster import Raster, level_of, raster, raster_of
from oaml_core.data.augment.pasting import SHADOW_PROB, Look, look_on, paste
from oaml_core.data.augment.placing import (
    WORN,
    Draws,
    FacePoints,
    Frame,
    Placing,
    cutout_frame,
    moved,
    picture_frame,
)
from oaml_core.errors import DataError

REFERENCE = np.array(
    [[30.2946, 51.6963], [65.5318, 51.5014], [48.0252, 71.7366], [33.5493, 92.3655], [62.7299, 92.2041]],
    dtype=np.float32,
)
"""Eyes, nose, mouth corners of a face aligned to 96 × 112 (width × height), as published; the specification's mask is
placed by the last three."""
REFERENCE_WIDTH, REFERENCE_HEIGHT = 96, 112

BLOCK_SIDE, BLOCK_ASPECT, BLOCKS = (0.1, 0.4), (0.7, 1.4), 3
"""Side of a block as a share of the image's shorter side, width by height, and the most that there are."""
STEADY = 1.2
"""Pixels of the template that landmarks move by before a cut-out is placed: it is worn where the face is."""


def aligned_landmarks(width: int, height: int) -> NDArray[np.float32]:
    """Return float32 [5, 2]: where a face that is aligned in an image of that size has eyes, nose and mouth corners."""
    unit = height / REFERENCE_HEIGHT
    return REFERENCE * np.float32(unit) + np.array([(width - REFERENCE_WIDTH * unit) / 2, 0], dtype=np.float32)


TEMPLATE = aligned_landmarks(112, 112)


def draw_occluder(
    image: Tensor,
    landmarks: Tensor | NDArray[np.float32] | None,
    kind: str | Path,
    generator: torch.Generator,
    split: Split = "train",
    *,
    cutouts: Cutouts | None = None,
    natural: bool = False,
    shadow_prob: float = SHADOW_PROB,
    dye_prob: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Cover part of a face.

    Drawn masks follow the specification's sizes: each landmark moved by up to ±3 px, a box of four times the mouth's
    width by four times the height from nose to mouth, 25 px above the mouth, moved by up to ±5 px, scaled by 0.95 to
    1.10, turned by up to ±7°. Cut-outs are worn where the face's landmarks say. Blocks are 1 to 3 rectangles, each with
    sides of 10 to 40 % of the image's.

    Args:
        image: uint8 [3, H, W].
        landmarks: [5, 2] in pixels; None: those of the template of aligned faces.
        kind: a drawing (`surgical`), any of a group (`mask`), a cut-out (`cutout:mask`), or several joined by `+`; a
            path: a picture with transparency, laid on like the specification's medical mask.
        generator: of styles and places.
        split: whose artwork and files are taken; `train` and `test` share none.
        cutouts: the user's folder, for kinds of cut-outs.
        natural: as bright as the face, lit from the same side, bent a little, at times with a shadow on the face.
        shadow_prob: probability in [0, 1] of a shadow of what looks natural. Without a shadow, pixels that stay visible
            keep their values; a user's own picture never throws one.
        dye_prob: probability in [0, 1] of other colours and prints of what looks natural.

    Returns:
        The image uint8 [3, H, W], and its visibility float32 [1, H, W]: 1 = visible, 0 = covered.

    Raises:
        DataError: there is no such occluder or no file of that kind, or a picture cannot be laid on.
    """
    cover = _Cover(image, landmarks, Draws(generator), split, cutouts, shadow_prob if natural else None, dye_prob)
    if isinstance(kind, Path):
        cover.lay_picture(kind)
    else:
        for part in parts_of(kind):
            cover.lay(part)
    return torch.from_numpy(cover.pixels), torch.from_numpy(cover.visible)[None]


def lay_mask_picture(
    image: Tensor,
    landmarks: Tensor | NDArray[np.float32] | None,
    picture: Path,
    generator: torch.Generator,
    ref_points: ArrayLike | None = None,
) -> tuple[Tensor, Tensor]:
    """Lay a user's own picture of a mask on a face as the specification does, with or without transparency.

    Args:
        image: uint8 [3, H, W].
        landmarks: [5, 2] in pixels; None: those of the template.
        picture: file; one without transparency covers its whole rectangle.
        generator: of places.
        ref_points: nose, left and right mouth corner [3, 2] in pixels, instead of the landmarks.

    Returns:
        The image uint8 [3, H, W], and its visibility float32 [1, H, W].

    Raises:
        DataError: the picture cannot be read, or all of it is transparent.
    """
    cover = _Cover(image, landmarks, Draws(generator), "train", None, None)
    if ref_points is not None:
        cover.points[2:] = np.asarray(ref_points, dtype=np.float32)
    cover.lay_picture(picture, opaque=True)
    return torch.from_numpy(cover.pixels), torch.from_numpy(cover.visible)[None]


def lay_cutout(
    image: Tensor,
    landmarks: Tensor | NDArray[np.float32] | None,
    kind: str,
    cutout: Path,
    generator: torch.Generator,
    shadow_prob: float = SHADOW_PROB,
) -> tuple[Tensor, Tensor]:
    """Lay one cut-out on a face, where its landmarks say that things of this kind are worn.

    Args:
        image: uint8 [3, H, W].
        landmarks: [5, 2] in pixels; None: those of the template.
        kind: a name of `placing.WORN`; others lie anywhere.
        cutout: RGBA file.
        generator: of size and place.
        shadow_prob: see `draw_occluder`.

    Returns:
        The image uint8 [3, H, W], and its visibility float32 [1, H, W].

    Raises:
        DataError: the file cannot be read, has no transparency, or is all transparent.
    """
    cover = _Cover(image, landmarks, Draws(generator), "test", None, shadow_prob)
    cover.lay_cutout(kind, cutout)
    return torch.from_numpy(cover.pixels), torch.from_numpy(cover.visible)[None]


class _Cover:
    """One face, and what has been laid on it."""

    def __init__(
        self,
        image: Tensor,
        landmarks: Tensor | NDArray[np.float32] | None,
        draws: Draws,
        split: Split,
        cutouts: Cutouts | None,
        shadow_prob: float | None,
        dye_prob: float = 0.0,
    ) -> None:
        height, width = image.shape[1:]
        given = aligned_landmarks(width, height) if landmarks is None else landmarks
        self.points = np.array(given, dtype=np.float32)
        self.pixels = image.numpy().copy()
        self.visible: Floats = np.ones((height, width), np.float32)
        self._unit = height / REFERENCE_HEIGHT
        self._draws, self._split, self._cutouts = draws, split, cutouts
        self._shadow_prob = shadow_prob
        """Chance of a shadow; None: the occluder takes nothing from the face but its brightness."""
        self._dye_prob = dye_prob

    def lay(self, name: str) -> None:
        """Lay on one occluder."""
        mistake = mistake_in(name)
        if mistake is not None:
            raise DataError(mistake)
        if name.startswith(CUTOUT):
            self._lay_one_of(name.removeprefix(CUTOUT))
        elif name == WITHOUT_ARTWORK:
            cover_by_blocks(self.pixels, self.visible, self._draws)
        elif name in GROUPS:
            group = GROUPS[name]
            self._lay_drawing(group[self._draws.below(len(group))])
        else:
            self._lay_drawing(name)

    def lay_picture(self, path: Path, *, opaque: bool = False) -> None:
        """Lay on a user's own picture of a mask."""
        face = self._face()
        frame = picture_frame(face.nose, face.left_mouth, face.right_mouth, self._unit, self._draws)
        levels = level_of(frame.half_width), level_of(frame.half_height)
        self._paste(frame, raster_of(path, *levels, needs="nothing" if opaque else "transparency"), shadow=False)

    def _lay_drawing(self, kind: str) -> None:
        artwork = artwork_of(kind)
        style = self._draws.below(len(artwork.styles(self._split)))
        frame = artwork.place(Placing.drawn(self._face(), self._draws))
        level = level_of(math.sqrt(frame.half_width * frame.half_height))
        self._paste(frame, raster(kind, self._split, style, level), own_skin=artwork.own_skin, bends=not artwork.rigid)

    def _lay_one_of(self, kind: str) -> None:
        if self._cutouts is None:
            raise DataError(f"{CUTOUT}{kind} needs a folder of cut-outs. Set {KEY}.")
        files = self._cutouts.of(kind, self._split)
        self.lay_cutout(kind, files[self._draws.below(len(files))])

    def lay_cutout(self, kind: str, path: Path) -> None:
        """Lay on a cut-out where things of its kind are worn."""
        level = level_of(0.4 * self.visible.shape[0])
        picture = raster_of(path, level, level, WHAT, "alpha")
        height, width = self.visible.shape
        frame = cutout_frame(kind, self._face(STEADY), picture.ratio, (height, width), self._draws)
        self._paste(frame, picture, bends=WORN.get(kind) in ("scarf", "mask"))

    def _face(self, jitter: float | None = None) -> FacePoints:
        return moved(self.points, self._unit, self._draws, *([] if jitter is None else [jitter]))

    def _paste(
        self, frame: Frame, picture: Raster, *, own_skin: bool = False, bends: bool = False, shadow: bool = True
    ) -> None:
        if self._shadow_prob is not None:
            probability = self._shadow_prob if shadow else 0.0
            look = look_on(
                self.pixels,
                self._draws,
                own_skin=own_skin,
                bends=bends,
                shadow_prob=probability,
                dye_prob=self._dye_prob,
            )
        else:
            light = self._draws.between(0.8, 1.15)
            look = Look((light, light, light))
        paste(self.pixels, self.visible, frame, picture, look)


def cover_by_blocks(
    pixels: NDArray[np.uint8],
    visible: Floats,
    draws: Draws,
    side: tuple[float, float] = BLOCK_SIDE,
    most: int = BLOCKS,
) -> None:
    """Cover an image [3, H, W] by 1 to `most` rectangles, black or of a random colour; in place."""
    height, width = visible.shape
    for _ in range(1 + draws.below(most)):
        length, aspect = draws.between(*side) * min(height, width), draws.between(*BLOCK_ASPECT)
        wide, high = (
            max(1, min(round(n), m))
            for n, m in ((length * math.sqrt(aspect), width), (length / math.sqrt(aspect), height))
        )
        top, left = draws.below(height - high + 1), draws.below(width - wide + 1)
        black = draws.between(0, 1) < 0.5
        colour = [0 if black else draws.below(256) for _ in range(3)]
        pixels[:, top : top + high, left : left + wide] = np.array(colour)[:, None, None]
        visible[top : top + high, left : left + wide] = 0
