"""Encoded images to RGB arrays: JPEG by libjpeg-turbo (simplejpeg), everything else by Pillow."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from oaml_core.errors import DataError

Image8 = NDArray[np.uint8]
JPEG_START = b"\xff\xd8\xff"
MAX_PIXELS = 100_000_000
"""Above it an image is refused unread: a few megabytes can announce gigabytes of pixels."""
LARGE_FILE = 1 << 18
"""Bytes above which a file could announce so many pixels."""


def decode_image(data: bytes, channel_order: Literal["rgb", "bgr"] = "rgb") -> Image8:
    """An encoded image as uint8 [H, W, 3], always RGB.

    Args:
        data: JPEG, PNG or whatever else Pillow reads; grey and transparent images become RGB.
        channel_order: order that the file decodes to; `bgr` is flipped.

    Raises:
        DataError: empty, truncated or damaged data. A JPEG that the decoder could only patch up counts as
            damaged.
    """
    if not data:
        raise DataError("the image is empty (0 bytes)")
    image = _decode_jpeg(data) if data.startswith(JPEG_START) else _decode_other(data, "RGB", "image")
    return image if channel_order == "rgb" else np.ascontiguousarray(image[..., ::-1])


def _decode_jpeg(data: bytes) -> Image8:
    try:
        if len(data) > LARGE_FILE:
            height, width, *_ = simplejpeg.decode_jpeg_header(data)
            if height * width > MAX_PIXELS:
                raise DataError(f"{width}×{height} pixels are too many; is this a face crop?")
        return simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError as error:
        raise DataError(f"damaged JPEG: {error}") from None


def decode_mask(data: bytes) -> Image8:
    """A mask image as uint8 [H, W], 255 = visible; raises DataError as `decode_image` does."""
    return _decode_other(data, "L", "mask")


def _decode_other(data: bytes, mode: str, what: str) -> Image8:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.array(image.convert(mode))  # a copy: torch wants arrays that can be written
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"unreadable {what}: {error}") from None


def fit_square(image: Image8, size: int) -> Image8:
    """A square image at `size` × `size`; resized with Pillow's antialiased bilinear filter where it differs.

    Raises:
        DataError: the image is not square: stretching would distort the face.
    """
    height, width = image.shape[:2]
    if height == width == size:
        return image
    if height != width:
        raise DataError(f"{width}×{height} pixels is not square; align and crop faces to {size}×{size} first")
    return np.array(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def encode_jpeg(image: Image8, quality: int = 95) -> bytes:
    """uint8 [H, W, 3] RGB as JPEG with full-resolution colour."""
    return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, "RGB", "444")
