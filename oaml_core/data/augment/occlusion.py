"""Occluders drawn on faces, with the visibility mask that belongs to them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from oaml_core.config import Occluder
from oaml_core.data.augment.occluder_artwork import ARTWORK, Floats, Split
from oaml_core.data.augment.occluder_artwork_raster import Raster, level_of, raster, raster_of

REFERENCE = np.array(
    [[30.2946, 51.6963], [65.5318, 51.5014], [48.0252, 71.7366], [33.5493, 92.3655], [62.7299, 92.2041]],
    dtype=np.float32,
)
"""Eyes, nose, mouth corners of a face aligned to 96 × 112 (width × height), as published; the specification's mask is
placed by the last three."""
REFERENCE_WIDTH, REFERENCE_HEIGHT = 96, 112

JITTER, SHIFT, TURN = 3.0, 5.0, 7.0
"""Of the specification's medical mask: pixels a point, pixels of the whole, degrees; each ±."""
SCALE = (0.95, 1.10)
RAISED = 25.0
"""Pixels that the mask's box stands above the mouth."""
BLOCK_AREA, BLOCK_ASPECT, BLOCKS = (0.1, 0.4), (0.7, 1.4), 3
"""Share of the image that the blocks cover together, width by height, and the most there are."""


def aligned_landmarks(width: int, height: int) -> NDArray[np.float32]:
    """float32 [5, 2]: where a face that is aligned in an image of that size has eyes, nose and mouth corners."""
    unit = height / REFERENCE_HEIGHT
    return REFERENCE * np.float32(unit) + np.array([(width - REFERENCE_WIDTH * unit) / 2, 0], dtype=np.float32)


TEMPLATE = aligned_landmarks(112, 112)


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
    points = aligned_landmarks(width, height) if landmarks is None else np.asarray(landmarks, dtype=np.float32)
    pixels = image.numpy().copy()
    visible = np.ones((height, width), np.float32)
    if kind == "blocks":
        _cover_by_blocks(pixels, visible, draws)
    else:
        style = int(draws.between(0, 1 if isinstance(kind, Path) else len(ARTWORK[kind].styles(split))))
        box = _box(kind, points, height / REFERENCE_HEIGHT, draws)
        levels = level_of(box.half_width), level_of(box.half_height)
        picture = raster_of(kind, *levels) if isinstance(kind, Path) else raster(kind, split, style, *levels)
        _paste(pixels, visible, box, picture, light=draws.between(0.8, 1.15))
    return torch.from_numpy(pixels), torch.from_numpy(visible)[None]


class _Draws:
    """Uniform random numbers from a torch generator, drawn many at a time."""

    def __init__(self, generator: torch.Generator) -> None:
        self._numbers = iter(torch.rand(32, generator=generator).tolist())

    def between(self, low: float, high: float) -> float:
        result: float = low + (high - low) * next(self._numbers)
        return result


def _box(kind: Occluder | Path, points: NDArray[np.float32], unit: float, draws: _Draws) -> _Box:
    """Where `kind` belongs on a face; `unit` is the size of a template's pixel."""
    reach = JITTER * unit
    moved = [(x + draws.between(-reach, reach), y + draws.between(-reach, reach)) for x, y in points.tolist()]
    left_eye, right_eye, nose, left_mouth, right_mouth = moved
    scale = draws.between(*SCALE)
    shift = draws.between(-SHIFT, SHIFT) * unit, draws.between(-SHIFT, SHIFT) * unit
    turn = math.radians(draws.between(-TURN, TURN))
    if kind == "sunglasses":
        spread = math.dist(left_eye, right_eye)
        tilt = math.atan2(right_eye[1] - left_eye[1], right_eye[0] - left_eye[0])
        return _Box(*_middle(left_eye, right_eye), 1.15 * spread * scale, 0.42 * spread * scale, 0.3 * turn + tilt)
    mouth = _middle(left_mouth, right_mouth)
    wide = 4 * math.dist(left_mouth, right_mouth) * scale / 2
    high = 4 * math.dist(mouth, nose) * scale / 2
    if kind == "hand":
        wide, high, turn = 0.55 * wide, 0.75 * high, 4 * turn
        shift = 3 * shift[0], 3 * shift[1] + RAISED * unit / 2
    return _Box(mouth[0] + shift[0], mouth[1] - RAISED * unit + shift[1], wide, high, turn)


def _middle(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return (one[0] + other[0]) / 2, (one[1] + other[1]) / 2


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
    # Each pixel of the result looks up a place in the picture, whose sides are at -1 and 1.
    to_u, to_v = 2 / (picture.right - picture.left), 2 / (picture.bottom - picture.top)
    across, down = torch.arange(x0, x1) - box.x, (torch.arange(y0, y1) - box.y)[:, None]
    places = torch.empty(1, y1 - y0, x1 - x0, 2)
    places[..., 0] = (to_u / half_width) * (cos * across + (sin * down)) - (to_u * picture.left + 1)
    places[..., 1] = (to_v / half_height) * (cos * down - (sin * across)) - (to_v * picture.top + 1)
    *colours, opacity = functional.grid_sample(picture.image, places, align_corners=False)[0].numpy()
    shown = np.maximum(1 - opacity / 255, 0)  # interpolation rounds up too
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
