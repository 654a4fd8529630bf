"""Encoded images to RGB arrays: JPEG by libjpeg-turbo (simplejpeg), everything else by Pillow."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from oaml_core.decoding.exif import orientation_of
from oaml_core.decoding.formats import FORMATS as FORMATS  # tells callers what is decoded
from oaml_core.decoding.formats import MAX_PIXELS as MAX_PIXELS
from oaml_core.decoding.header import Header, read_header
from oaml_core.decoding.levels import BACKGROUND as BACKGROUND
from oaml_core.decoding.levels import to_8_bits
from oaml_core.errors import DataError

Image8 = NDArray[np.uint8]
NOT_SQUARE = "pixels is not square"
"""What the refusal of an image that is no aligned face says of its size."""


def decode_image(data: bytes, channel_order: Literal["rgb", "bgr"] = "rgb") -> Image8:
    """Decode an image to uint8 [H, W, 3] RGB, upright.

    EXIF orientation is applied. 16-bit values are divided by 257, others by the range that the file states. Float
    values must lie in [0, 1]. Transparent pixels show `BACKGROUND`. Grey, palette and CMYK images become RGB.

    Args:
        data: an encoded image of one of `FORMATS`; its first picture where it holds several.
        channel_order: order that the file decodes to; `bgr` is flipped.

    Raises:
        DataError: empty, truncated or damaged data, another format, too many pixels, or values without a known
            range. A JPEG that the decoder could only patch up counts as damaged.
    """
    header = read_header(data)
    image = _decode_jpeg(data, header) if header.jpeg else _decode_other(data, header, "RGB", "image")
    return image if channel_order == "rgb" else np.ascontiguousarray(image[..., ::-1])


def _decode_jpeg(data: bytes, header: Header) -> Image8:
    assert header.jpeg is not None
    if header.jpeg.components == 4:
        return _decode_other(data, header, "RGB", "image")
    try:
        image: Image8 = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except Exception as error:  # decoders of damaged files raise errors of every class
        raise DataError(f"damaged JPEG: {error or type(error).__name__}") from None
    return _upright(image, header.jpeg.orientation)


def decode_mask(data: bytes) -> Image8:
    """Return a mask image as uint8 [H, W], 255 = visible; raises DataError as `decode_image` does."""
    return _decode_other(data, read_header(data, "mask"), "L", "mask")


def decode_picture(data: bytes) -> tuple[Image8, bool]:
    """Decode a picture with its transparency: uint8 [H, W, 4] RGBA, upright, and whether the file has an alpha channel.

    Raises:
        DataError: as `decode_image` does.
    """
    with _opened(data, read_header(data, "picture"), "picture") as image:
        has_alpha = "A" in image.getbands() or "transparency" in image.info
        pixels = np.array(to_8_bits(image, "RGBA"))
        return _upright(pixels, _turn(image)), has_alpha


def _decode_other(data: bytes, header: Header, mode: Literal["RGB", "L"], what: str) -> Image8:
    with _opened(data, header, what) as image:
        pixels = np.array(to_8_bits(image, mode))  # a copy: torch wants writable arrays
        return _upright(pixels, _turn(image))


@contextmanager
def _opened(data: bytes, header: Header, what: str) -> Iterator[Image.Image]:
    """Open an image in Pillow as the format that its header says; each fault is a DataError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damage that Pillow reads over, sizes that have been judged
            with Image.open(io.BytesIO(data), formats=(header.format,)) as image:
                if image.width * image.height > header.width * header.height:
                    raise DataError(f"unreadable {what}: its header says two sizes")
                yield image
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(
            f"unreadable {what}: the {header.format} is damaged, or of a kind that is not decoded (several channels of "
            "floats, values of 64 bits); save it with 8 or 16 bits per value"
        ) from None
    except Exception as error:  # decoders of damaged files raise errors of every class
        raise DataError(f"unreadable {what}: {error or type(error).__name__}") from None


def _turn(image: Image.Image) -> int:
    """Return the orientation of a loaded image; Pillow turns a TIFF upright itself as it loads it."""
    return 1 if image.format == "TIFF" else orientation_of(image.info)


def _upright(image: Image8, orientation: int) -> Image8:
    """Turn and mirror an image by its EXIF orientation (1 to 8; any other value leaves it)."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def fit_square(image: Image8, size: int) -> Image8:
    """Return a square image at `size` × `size`; resized with Pillow's antialiased bilinear filter where it differs.

    Raises:
        DataError: the image is not square: stretching would distort the face.
    """
    height, width = image.shape[:2]
    if height == width == size:
        return image
    if height != width:
        remedy = f"`oaml align FOLDER OUT` makes {size}×{size} faces of photographs"
        raise DataError(f"{width}×{height} {NOT_SQUARE}; {remedy}")
    return np.array(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def encode_jpeg(image: Image8, quality: int = 95) -> bytes:
    """Return uint8 [H, W, 3] RGB as JPEG with full-resolution colour."""
    result: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, "RGB", "444")
    return result
