"""Images come out RGB or are named as damaged."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from oaml_core.decoding.decode import decode_image, decode_mask, encode_jpeg, fit_square
from oaml_core.errors import DataError
from tests.data_layer.conftest import face


def encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def test_jpeg_pixels_are_pillows() -> None:
    data = encode_jpeg(face(1))
    np.testing.assert_array_equal(decode_image(data), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "TIFF"])
def test_other_formats_are_read_too(kind: str) -> None:
    read = decode_image(encoded(Image.fromarray(face(1)), kind))
    assert abs(read.astype(int) - face(1)).mean() < 8


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", "JPEG"), ("L", "PNG"), ("RGBA", "PNG"), ("P", "PNG"), ("CMYK", "JPEG")]
)
def test_grey_transparent_and_palette_images_become_rgb(mode: str, kind: str) -> None:
    read = decode_image(encoded(Image.fromarray(face(1)).convert(mode), kind))
    assert read.shape == (112, 112, 3)
    assert read.dtype == np.uint8


def test_bgr_files_are_flipped() -> None:
    data = encoded(Image.fromarray(face(1)[..., ::-1]), "PNG")
    np.testing.assert_array_equal(decode_image(data, "bgr"), face(1))


@pytest.mark.parametrize("size", [0, 2, 3, 10, 200, 1000, -100, -1])
def test_a_truncated_jpeg_is_an_error(size: int) -> None:
    with pytest.raises(DataError, match=r"empty|JPEG|unreadable"):
        decode_image(encode_jpeg(face(1))[:size])


@pytest.mark.parametrize("size", [8, 50, 2000])
def test_a_truncated_png_is_an_error(size: int) -> None:
    with pytest.raises(DataError, match="unreadable"):
        decode_image(encoded(Image.fromarray(face(1)), "PNG")[:size])


def test_an_image_that_announces_too_many_pixels_is_refused_unread() -> None:
    huge = bytearray(encode_jpeg(face(1)))
    frame = huge.index(b"\xff\xc0") + 5
    huge[frame : frame + 4] = b"\xf0\x00\xf0\x00"
    with pytest.raises(DataError, match="61440×61440 pixels are too many"):
        decode_image(bytes(huge) + b"\0" * 300_000)


def test_something_else_than_an_image_is_an_error() -> None:
    with pytest.raises(DataError, match="a web page, no image"):
        decode_image(b"<html>not found</html>")
    with pytest.raises(DataError, match="unreadable mask"):
        decode_mask(b"text")


def test_square_images_are_resized_and_others_refused() -> None:
    assert fit_square(face(1, side=224), 112).shape == (112, 112, 3)
    with pytest.raises(DataError, match="120×112 pixels is not square"):
        fit_square(np.zeros((112, 120, 3), np.uint8), 112)
