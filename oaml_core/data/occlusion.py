"""Occluders drawn on faces, with the visibility mask that belongs to them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from oaml_core.config import Occluder
from oaml_core.data.occluder_artwork import ARTWORK, Floats, Split
from oaml_core.data.occluder_artwork_raster import Raster, level_of, raster, raster_of

REFERENCE = np.array(
    [[30.2946, 51.6963], [65.5318, 51.5014], [48.0252, 71.7366], [33.5493, 92.3655], [62.7299, 92.2041]],
    dtype=np.float32,
)
"""Eyes, nose, mouth corners of a face aligned to 96 × 112 (width × height), as published; the specification's mask is
placed by the last three."""
TEMPLATE_SIZE = 112
TEMPLATE = REFERENCE + np.array([(TEMPLATE_SIZE - 96) / 2, 0], dtype=np.float32)
"""The same in the middle of 112 × 112."""

JITTER, SHIFT, TURN = 3.0, 5.0, 7.0
"""Of the specification's medical mask: pixels a point, pixels of the whole, degrees; each ±."""
SCALE = (0.95, 1.10)
RAISED = 25.0
"""Pixels that the mask's box stands above the mouth."""
BLOCK_AREA, BLOCK_ASPECT, BLOCKS = (0.1, 0.4), (0.7, 1.4), 3
"""Share of the image that the blocks cover together, width by height, and the most there are."""


class _Box(NamedTuple):
    """Where a drawing is pasted: centre, half-size, and turn in radians."""

    x: float
    y: float
    half_width: float
    half_height: float
    turn: float


def draw_occluder(
    image: Tensor,
    landmarks: Tensor | NDArray[np.float32] | None,
    kind: Occluder | Path,
    generator: torch.Generator,
    split: Split = "train",
) -> tuple[Tensor, Tensor]:
    """Cover part of a face.

    Masks follow the specification's geometry: each landmark moved by up to ±3 px, a box of four times the mouth's
    width by four times the height from nose to mouth, 25 px above the mouth, moved by up to ±5 px, scaled by 0.95 to
    1.10, turned by up to ±7°. Blocks are 1 to 3 rectangles of 10 to 40 % of the image together.

    Args:
        image: uint8 [3, H, W].
        landmarks: [5, 2] in pixels; None: those of the template of aligned faces.
        kind: what is drawn; a path: a picture with transparency, laid on like a medical mask.
        generator: of styles and places.
        split: whose artwork is taken; `train` and `test` share none.

    Returns:
        The image uint8 [3, H, W], and its visibility float32 [1, H, W]: 1 = visible, 0 = covered.

    Raises:
        DataError: the picture cannot be read, or has no transparency.
    """
    draws = _Draws(generator)
    height, width = image.shape[1:]
    points = TEMPLATE * (width / TEMPLATE_SIZE) if landmarks is None else np.asarray(landmarks, dtype=np.float32)
    pixels = image.numpy().copy()
    visible = np.ones((height, width), np.float32)
    if kind == "blocks":
        _cover_by_blocks(pixels, visible, draws)
    else:
        style = int(draws.between(0, 1 if isinstance(kind, Path) else len(ARTWORK[kind].styles(split))))
        box = _box(kind, points, width / TEMPLATE_SIZE, draws)
        levels = level_of(box.half_width), level_of(box.half_height)
        picture = raster_of(kind, *levels) if isinstance(kind, Path) else raster(kind, split, style, *levels)
        _paste(pixels, visible, box, picture, light=draws.between(0.8, 1.15))
    return torch.from_numpy(pixels), torch.from_numpy(visible)[None]


class _Draws:
    """Uniform random numbers from a torch generator, drawn many at a time."""

    def __init__(self, generator: torch.Generator) -> None:
        self._numbers = iter(torch.rand(32, generator=generator).tolist())

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * next(self._numbers)


def _box(kind: Occluder | Path, points: NDArray[np.float32], unit: float, draws: _Draws) -> _Box:
    """Where `kind` belongs on a face; `unit` is the size of a template's pixel."""
    jitter = np.array([[draws.between(-JITTER, JITTER) * unit for _ in range(2)] for _ in range(5)], np.float32)
    left_eye, right_eye, nose, left_mouth, right_mouth = points + jitter
    scale = draws.between(*SCALE)
    shift = draws.between(-SHIFT, SHIFT) * unit, draws.between(-SHIFT, SHIFT) * unit
    turn = math.radians(draws.between(-TURN, TURN))
    mouth = (left_mouth + right_mouth) / 2
    if kind == "sunglasses":
        eyes, across = (left_eye + right_eye) / 2, right_eye - left_eye
        spread = float(np.hypot(*across))
        tilt = math.atan2(float(across[1]), float(across[0]))
        return _Box(eyes[0], eyes[1], 1.15 * spread * scale, 0.42 * spread * scale, 0.3 * turn + tilt)
    wide = 4 * float(np.hypot(*(right_mouth - left_mouth))) * scale / 2
    high = 4 * float(np.hypot(*(mouth - nose))) * scale / 2
    if kind == "hand":
        wide, high, turn = 0.55 * wide, 0.75 * high, 4 * turn
        shift = 3 * shift[0], 3 * shift[1] + RAISED * unit / 2
    return _Box(mouth[0] + shift[0], mouth[1] - RAISED * unit + shift[1], wide, high, turn)


def _paste(pixels: NDArray[np.uint8], visible: Floats, box: _Box, picture: Raster, light: float) -> None:
    """Lay a picture over `pixels` [3, H, W] by its opacity, which `visible` [H, W] loses; in place."""
    half_width, half_height = max(box.half_width, 1.0), max(box.half_height, 1.0)
    cos, sin = math.cos(box.turn), math.sin(box.turn)
    corners = [
        (box.x + cos * u * half_width - sin * v * half_height, box.y + sin * u * half_width + cos * v * half_height)
        for u in (picture.left, picture.right)
        for v in (picture.top, picture.bottom)
    ]
    height, width = visible.shape
    x0, x1 = _span([x for x, _ in corners], width)
    y0, y1 = _span([y for _, y in corners], height)
    if x0 >= x1 or y0 >= y1:
        return
    # Pillow looks up, for the middle of each pixel of the result, a place in the raster by this affine map.
    du, dv = picture.level_u / half_width, picture.level_v / half_height
    dx, dy = x0 - 0.5 - box.x, y0 - 0.5 - box.y
    lookup = (
        cos * du, sin * du, (cos * dx + sin * dy) * du - picture.left * picture.level_u,
        -sin * dv, cos * dv, (cos * dy - sin * dx) * dv - picture.top * picture.level_v,
    )  # fmt: skip
    size = (x1 - x0, y1 - y0)
    laid = picture.image.transform(size, Image.Transform.AFFINE, lookup, Image.Resampling.BILINEAR)
    *colours, opacity = np.asarray(laid).transpose(2, 0, 1).astype(np.float32, order="C")
    shown = 1 - opacity / 255
    for plane, colour in zip(pixels[:, y0:y1, x0:x1], colours, strict=True):
        colour *= light
        plane[:] = plane * shown + np.minimum(colour, opacity, out=colour) + 0.5
    visible[y0:y1, x0:x1] = shown


def _span(places: list[float], size: int) -> tuple[int, int]:
    """First pixel, and the one after the last, that such places reach in an image of `size` pixels."""
    return max(0, math.floor(min(places)) - 1), min(size, math.ceil(max(places)) + 2)


def _cover_by_blocks(pixels: NDArray[np.uint8], visible: Floats, draws: _Draws) -> None:
    height, width = visible.shape
    count = 1 + int(draws.between(0, BLOCKS))
    area = draws.between(*BLOCK_AREA) * height * width / count
    for _ in range(count):
        aspect = draws.between(*BLOCK_ASPECT)
        wide, high = (
            max(1, min(round(n), m)) for n, m in ((math.sqrt(area * aspect), width), (math.sqrt(area / aspect), height))
        )
        top, left = int(draws.between(0, height - high + 1)), int(draws.between(0, width - wide + 1))
        black = draws.between(0, 1) < 0.5
        colour = [0 if black else int(draws.between(0, 256)) for _ in range(3)]
        pixels[:, top : top + high, left : left + wide] = np.array(colour)[:, None, None]
        visible[top : top + high, left : left + wide] = 0
