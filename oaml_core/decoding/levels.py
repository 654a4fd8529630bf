"""Levels of every kind of pixel as 8 bits, by the range that the file states."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from oaml_core.errors import DataError

BACKGROUND = 255
"""Grey level, 0 to 255, that shows through transparent pixels of an image. Masks take 0, occluded."""
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
"""Tags of TIFF 6.0."""
_WHITE_IS_ZERO = 0
_UNSIGNED, _FLOAT = 1, 3
MOST_BITS = 16


def to_8_bits(image: Image.Image, mode: Literal["RGB", "L", "RGBA"]) -> Image.Image:
    """Convert an opened image to 8 bits per value; 16-bit values are divided by 257.

    Args:
        image: in any of Pillow's modes.
        mode: what to return. Transparency is laid over `BACKGROUND` for `RGB` and over 0 for `L`.

    Raises:
        DataError: float values outside [0, 1], signed values, or integers of more than 16 bits.
    """
    most, inverted = _stated_range(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        values = np.asarray(image).astype(np.int32)
        values = (values.clip(0, most) * 255 + most // 2) // most
        return _grey(values, inverted).convert(mode)
    if image.mode == "I":
        raise DataError("32-bit integers have no known range; save the image with 8 or 16 bits per value")
    if image.mode == "F":
        levels = np.array(image)
        if not np.isfinite(levels).all() or levels.min() < 0 or levels.max() > 1:
            raise DataError("float values must lie in [0, 1]; scale them, or save the image with 8 or 16 bits")
        levels *= 255
        return _grey(np.rint(levels, out=levels), inverted).convert(mode)
    is_transparent = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    if is_transparent and mode != "RGBA":
        level = BACKGROUND if mode == "RGB" else 0
        pixels = image.convert("RGBA")
        ground = Image.new("RGBA", pixels.size, (level, level, level, 255))
        return Image.alpha_composite(ground, pixels).convert(mode)
    return image.convert(mode)


def _grey(levels: NDArray[Any], inverted: bool) -> Image.Image:
    pixels = levels.astype(np.uint8)
    return Image.fromarray(255 - pixels if inverted else pixels)


def _stated_range(image: Image.Image) -> tuple[int, bool]:
    """Return the largest value that a 16-bit pixel can have, and whether 0 is white in pixels that Pillow leaves so.

    Pillow turns pixels of up to 8 bits around itself, and expands them; it does neither for deeper ones.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return (1 << MOST_BITS) - 1, False
    bits = _first(image, _BITS, 1)
    kind = _first(image, _SAMPLE_FORMAT, _UNSIGNED)
    if kind not in (_UNSIGNED, _FLOAT):
        raise DataError("signed values have no known range; save the image with 8 or 16 bits per value, unsigned")
    return (1 << min(bits, MOST_BITS)) - 1, _first(image, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO


def _first(image: TiffImagePlugin.TiffImageFile, tag: int, default: int) -> int:
    """Return the first value of a tag."""
    value = image.tag_v2.get(tag, default)
    return int(value[0] if isinstance(value, tuple) else value)
