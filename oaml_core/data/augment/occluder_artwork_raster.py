"""Occluders as pictures, painted or read once for each size and kept: what is pasted is looked up, not computed."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from oaml_core.data.augment.occluder_artwork import Split, artwork_of, paint
from oaml_core.decoding.decode import decode_picture
from oaml_core.decoding.files import read_image_bytes
from oaml_core.errors import DataError, ModelInputError

REACH_U, REACH_UP = 1.6, 1.8
"""How far drawings may go beyond their box's middle, in units of half the box."""
SMALLEST_LEVEL, LARGEST_LEVEL = 8, 256
Need = Literal["transparency", "alpha", "nothing"]


class Raster(NamedTuple):
    """A painted drawing, cropped to what it covers."""

    image: Tensor
    """uint8 [1, 4, h, w], red, green, blue, opacity; the colours multiplied by the opacity so that interpolation leaves
    no fringe."""
    left: float
    """In the box's units, as `right`, `top` and `bottom`."""
    right: float
    top: float
    bottom: float
    ratio: float = 1.0
    """Height by width of the picture as it was."""


def level_of(half: float) -> int:
    """Return pixels of a unit at which to paint what is shown at `half` pixels: the nearest power of two, so that
    looking up
    neither blurs nor aliases much."""
    result: int = min(LARGEST_LEVEL, max(SMALLEST_LEVEL, 2 ** round(math.log2(max(half, 1.0)))))
    return result


@lru_cache(maxsize=1024)
def raster(kind: str, split: Split, style: int, level: int) -> Raster:
    """Paint a style, or take it from those painted before (about 0.1 MB each for 112×112 images)."""
    artwork = artwork_of(kind)
    u = (np.arange(round(-REACH_U * level), round(REACH_U * level), dtype=np.float32) + 0.5) / level
    v = (np.arange(round(-REACH_UP * level), round(artwork.down * level), dtype=np.float32) + 0.5) / level
    opacity, colour = paint(artwork, artwork.styles(split)[style], u, v)
    rows, columns = np.flatnonzero(opacity.any(1)), np.flatnonzero(opacity.any(0))
    kept = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    rgba = np.rint(np.concatenate([colour, opacity[..., None]], axis=-1)[kept] * np.float32(255)).astype(np.uint8)
    u, v, half = u[kept[1]], v[kept[0]], 0.5 / level
    return Raster(
        torch.from_numpy(np.ascontiguousarray(rgba.transpose(2, 0, 1)[None])),
        float(u[0]) - half,
        float(u[-1]) + half,
        float(v[0]) - half,
        float(v[-1]) + half,
    )


def read_picture(path: Path, what: str, needs: Need = "transparency") -> Image.Image:
    """Read an RGBA picture from a file, upright.

    Args:
        path: file.
        what: the key or folder that it belongs to, for messages.
        needs: something transparent in it; an alpha channel, even if it is opaque throughout; or nothing.

    Raises:
        DataError: it cannot be read, lacks what is needed, or all of it is transparent.
    """
    try:
        pixels, has_alpha = decode_picture(read_image_bytes(path))
    except ModelInputError as error:
        raise DataError(f"{what}: {error}") from None
    except DataError as error:
        raise DataError(f"{what}: {path} cannot be read: {error}") from None
    picture = Image.fromarray(pixels)
    least, most = picture.getchannel("A").getextrema()
    if needs == "alpha" and not has_alpha:
        raise DataError(f"{what}: {path} has no transparency. Save it as a PNG with an alpha channel.")
    if needs == "transparency" and least == 255:
        raise DataError(f"{what}: nothing of {path} is transparent: save it as a PNG with an alpha channel.")
    if most == 0:
        raise DataError(f"{what}: all of {path} is transparent, there is nothing to lay on a face. Remove it.")
    return picture


@lru_cache(maxsize=512)
def raster_of(
    path: Path, level_u: int, level_v: int, what: str = "augment.mask_images", needs: Need = "transparency"
) -> Raster:
    """Return a picture from a file, filling its box.

    Raises:
        DataError: see `read_picture`.
    """
    picture = read_picture(path, what, needs)
    size = 2 * level_u, 2 * level_v
    fitted = np.asarray(
        picture.convert("RGBa").resize(
            size, Image.Resampling.BOX if size[0] < picture.width else Image.Resampling.BILINEAR
        )
    )
    ratio = picture.height / picture.width
    return Raster(torch.from_numpy(np.ascontiguousarray(fitted.transpose(2, 0, 1)[None])), -1.0, 1.0, -1.0, 1.0, ratio)
