"""Encoded images to RGB arrays: JPEG by libjpeg-turbo (simplejpeg), everything else by Pillow."""

from __future__ import annotations

import io
import warnings
from typing import Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from oaml_core.errors import DataError

Image8 = NDArray[np.uint8]
JPEG_START = b"\xff\xd8\xff"
NOT_SQUARE = "pixels is not square"
"""What the refusal of an image that is no aligned face says of its size."""
MAX_PIXELS = 100_000_000
"""Above it an image is refused unread: a few kilobytes can announce gigabytes of pixels."""
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000")
"""Formats that are decoded. Pillow knows more, and runs other programs for some of them."""
BACKGROUND = 255
"""Grey level, 0 to 255, that shows through transparent pixels of an image. Masks take 0, occluded."""
ORIENTATION = 0x0112
"""EXIF tag of the turn that brings a picture upright."""
EXIF_REACH = 1 << 17
"""Bytes from the start of a JPEG in which its EXIF block begins."""
FOREIGN = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF"}
"""Formats of phones that are not decoded, by the brand in their header."""


def decode_image(data: bytes, channel_order: Literal["rgb", "bgr"] = "rgb") -> Image8:
    """Decode an image to uint8 [H, W, 3] RGB, upright.

    EXIF orientation is applied. 16-bit values are divided by 257. Float values must lie in [0, 1]. Transparent
    pixels show `BACKGROUND`. Grey, palette and CMYK images become RGB.

    Args:
        data: an encoded image of one of `FORMATS`; its first picture where it holds several.
        channel_order: order that the file decodes to; `bgr` is flipped.

    Raises:
        DataError: empty, truncated or damaged data, another format, too many pixels, or values without a known
            range. A JPEG that the decoder could only patch up counts as damaged.
    """
    if not data:
        raise DataError("the image is empty (0 bytes)")
    image = _decode_jpeg(data) if data.startswith(JPEG_START) else _decode_other(data, "RGB", "image")
    return image if channel_order == "rgb" else np.ascontiguousarray(image[..., ::-1])


def _decode_jpeg(data: bytes) -> Image8:
    try:
        height, width, colours, *_ = simplejpeg.decode_jpeg_header(data)
        _refuse_large(width, height)
        if colours in ("CMYK", "YCCK"):
            return _decode_other(data, "RGB", "image")
        image: Image8 = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError as error:
        raise DataError(f"damaged JPEG: {error}") from None
    if data.find(b"Exif\0\0", 0, EXIF_REACH) < 0:
        return image
    return _upright(image, _jpeg_orientation(data))


def _jpeg_orientation(data: bytes) -> int:
    """Return the EXIF orientation, 1 where the block cannot be read: the pixels are whole all the same."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            return int(opened.getexif().get(ORIENTATION, 1))
    except Exception:  # each kind of damage raises its own error
        return 1


def decode_mask(data: bytes) -> Image8:
    """Return a mask image as uint8 [H, W], 255 = visible; raises DataError as `decode_image` does."""
    return _decode_other(data, "L", "mask")


def _decode_other(data: bytes, mode: Literal["RGB", "L"], what: str) -> Image8:
    if not data:
        raise DataError(f"the {what} is empty (0 bytes)")
    if data[4:8] == b"ftyp" and (name := FOREIGN.get(data[8:12])):
        raise DataError(f"{name} is not a format that is read; save the {what} as JPEG or PNG")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is stricter
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _refuse_large(*image.size)
                turn = int(image.getexif().get(ORIENTATION, 1))
                return _upright(np.array(_to_8_bits(image, mode)), turn)  # a copy: torch wants writable arrays
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"unreadable {what}: damaged, or none of {', '.join(FORMATS)}") from None
    except Exception as error:  # decoders of damaged files raise errors of every class
        raise DataError(f"unreadable {what}: {error or type(error).__name__}") from None


def _refuse_large(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DataError(f"{width}×{height} pixels are too many (at most {MAX_PIXELS:,}); is this a face crop?")


def _to_8_bits(image: Image.Image, mode: Literal["RGB", "L"]) -> Image.Image:
    """Convert every kind of pixel to 8 bits by the range that its format states."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray(((values + 128) // 257).clip(0, 255).astype(np.uint8)).convert(mode)
    if image.mode == "I":
        raise DataError("32-bit integers have no known range; save the image with 8 or 16 bits per value")
    if image.mode == "F":
        levels = np.asarray(image)
        if not np.isfinite(levels).all() or levels.min() < 0 or levels.max() > 1:
            raise DataError("float values must lie in [0, 1]; scale them, or save the image with 8 or 16 bits")
        return Image.fromarray(np.rint(levels * 255).astype(np.uint8)).convert(mode)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        level = BACKGROUND if mode == "RGB" else 0
        pixels = image.convert("RGBA")
        ground = Image.new("RGBA", pixels.size, (level, level, level, 255))
        return Image.alpha_composite(ground, pixels).convert(mode)
    return image.convert(mode)


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
