"""Pixels of every kind come out with the levels that the file states, in images, masks and pictures alike."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from oaml_core.decoding.decode import decode_image, decode_mask, decode_picture
from oaml_core.errors import DataError

LEVELS = np.arange(0, 256, dtype=np.uint8).reshape(16, 16)
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1


def tiff(pixels: bytes, bits: int, kind: int = UNSIGNED, photometric: int = BLACK_IS_ZERO) -> bytes:
    """A TIFF of 16 × 16 grey pixels, little end first."""
    tags = {256: 16, 257: 16, 258: bits, 259: 1, 262: photometric, 273: 0, 277: 1, 278: 16, 279: len(pixels), 339: kind}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + table + b"\0\0\0\0" + pixels


def twelve_bits(levels: np.ndarray) -> bytes:
    """Two values in three bytes."""
    pairs = (levels.astype(np.uint32) * 4095 // 255).reshape(-1, 2)
    first, second = pairs[:, 0], pairs[:, 1]
    return np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1).astype(np.uint8).tobytes()


def encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


DEEP = LEVELS.astype("<u2") * 257
KINDS = {
    "16 bits": tiff(DEEP.tobytes(), 16),
    "16 bits, 0 is white": tiff((65535 - DEEP).tobytes(), 16, photometric=WHITE_IS_ZERO),
    "8 bits, 0 is white": tiff((255 - LEVELS).tobytes(), 8, photometric=WHITE_IS_ZERO),
    "12 bits": tiff(twelve_bits(LEVELS), 12),
    "floats": tiff((LEVELS / 255).astype("<f4").tobytes(), 32, FLOAT),
    "floats, 0 is white": tiff((1 - LEVELS / 255).astype("<f4").tobytes(), 32, FLOAT, WHITE_IS_ZERO),
    "16 bits, high byte first": encoded(Image.frombytes("I;16B", (16, 16), DEEP.astype(">u2").tobytes()), "TIFF"),
    "PNG of 16 bits": encoded(Image.fromarray(DEEP), "PNG"),
    "PGM of 16 bits": b"P5 16 16 65535\n" + DEEP.astype(">u2").tobytes(),
    "JPEG 2000 of 16 bits": encoded(Image.fromarray(DEEP), "JPEG2000"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_grey_levels_are_those_that_were_stored(kind: str) -> None:
    for decoded in (
        decode_image(KINDS[kind])[..., 2],
        decode_mask(KINDS[kind]),
        decode_picture(KINDS[kind])[0][..., 0],
    ):
        assert np.abs(decoded.astype(int) - LEVELS).max() <= 1


@pytest.mark.parametrize(
    "data",
    [
        tiff((LEVELS // 2).astype(np.int8).tobytes(), 8, SIGNED),
        tiff((DEEP // 2).astype("<i2").tobytes(), 16, SIGNED),
        tiff(LEVELS.astype("<u4").tobytes(), 32),
    ],
    ids=["8 bits signed", "16 bits signed", "32 bits"],
)
def test_levels_without_a_known_range_are_refused(data: bytes) -> None:
    for decode in (decode_image, decode_mask, decode_picture):
        with pytest.raises(DataError, match="no known range"):
            decode(data)


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_whatever_the_format(kind: str, orientation: int) -> None:
    scene = np.zeros((24, 16, 3), dtype=np.uint8)
    scene[:8, :8] = 250
    scene[8:12, :4] = 120
    turned = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}[orientation]
    image = Image.fromarray(scene)
    upright = image if turned is None else image.transpose(Image.Transpose(turned))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    assert np.array_equal(decode_image(file.getvalue()), np.asarray(upright))
