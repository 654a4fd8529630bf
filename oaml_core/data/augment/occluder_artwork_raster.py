"""Occluders' drawings as pictures, painted once for each size and kept: what is pasted is looked up, not computed."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from oaml_core.config import Occluder
from oaml_core.data.augment.occluder_artwork import ARTWORK, Split, paint
from oaml_core.decoding.decode import FORMATS
from oaml_core.errors import DataError

REACH_U, REACH_UP, REACH_DOWN = 1.3, 1.5, 4.0
"""How far drawings may go beyond their box's middle, in units of half the box; veils and scarves end below."""
SMALLEST_LEVEL, LARGEST_LEVEL = 8, 256


class Raster(NamedTuple):
    """A painted drawing, cropped to what it covers."""

    image: Tensor
    """float32 [1, 4, h, w], red, green, blue, opacity in [0, 255]; the colours multiplied by the opacity so that
    interpolation leaves no fringe."""
    left: float
    """In the box's units, as `right`, `top` and `bottom`."""
    right: float
    top: float
    bottom: float


def level_of(half: float) -> int:
    """Pixels of a unit at which to paint what is shown at `half` pixels: the nearest power of two, so that looking up
    neither blurs nor aliases much."""
    result: int = min(LARGEST_LEVEL, max(SMALLEST_LEVEL, 2 ** round(math.log2(max(half, 1.0)))))
    return result


@lru_cache(maxsize=96)
def raster(kind: Occluder, split: Split, style: int, level_u: int, level_v: int) -> Raster:
    """Paint a style, or take it from those painted before (about 0.3 MB each for 112×112 images)."""
    u = (np.arange(round(-REACH_U * level_u), round(REACH_U * level_u), dtype=np.float32) + 0.5) / level_u
    v = (np.arange(round(-REACH_UP * level_v), round(REACH_DOWN * level_v), dtype=np.float32) + 0.5) / level_v
    artwork = ARTWORK[kind]
    alpha, colour = paint(artwork, artwork.styles(split)[style], u[None], v[:, None])
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    kept = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    rgba = np.concatenate([colour * alpha[..., None], alpha[..., None]], axis=-1)[kept]
    u, v = u[kept[1]], v[kept[0]]
    half_u, half_v = 0.5 / level_u, 0.5 / level_v
    return Raster(
        torch.from_numpy(np.ascontiguousarray(rgba.transpose(2, 0, 1)[None] * np.float32(255))),
        float(u[0]) - half_u,
        float(u[-1]) + half_u,
        float(v[0]) - half_v,
        float(v[-1]) + half_v,
    )


@lru_cache(maxsize=64)
def raster_of(path: Path, level_u: int, level_v: int) -> Raster:
    """A picture with transparency from a file, filling its box.

    Raises:
        DataError: it cannot be read, or nothing of it is transparent.
    """
    try:
        with Image.open(path, formats=FORMATS) as file:
            picture = file.convert("RGBA")
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"augment.mask_images: {path} cannot be read: {error}") from None
    if picture.getchannel("A").getextrema()[0] == 255:
        raise DataError(
            f"augment.mask_images: nothing of {path} is transparent: save it as a PNG with an alpha channel."
        )
    size = 2 * level_u, 2 * level_v
    fitted = np.asarray(picture.convert("RGBa").resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
    return Raster(torch.from_numpy(np.ascontiguousarray(fitted.transpose(2, 0, 1)[None])), -1.0, 1.0, -1.0, 1.0)
