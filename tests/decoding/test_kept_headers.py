"""A JPEG that begins like one that was admitted is judged by comparing bytes, and exactly as if it were taken apart."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from oaml_core.decoding import header
from oaml_core.decoding.decode import decode_image, encode_jpeg
from oaml_core.decoding.header import KEPT_HEADERS, Header, read_header
from oaml_core.errors import DataError
from tests.data_layer.image_attacks import encoded, picture


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header, "_admitted", ())


def jpeg(level: int, side: int = 64, **options: object) -> bytes:
    return encoded(Image.new("RGB", (side, side), (level, 128, 255 - level)), "JPEG", **options)


def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return what will be taken apart from here on."""
    seen: list[bytes] = []
    whole = header.read_jpeg_header
    monkeypatch.setattr(header, "read_jpeg_header", lambda data: (seen.append(data), whole(data))[1])
    return seen


def judged(data: bytes) -> Header | str:
    try:
        return read_header(data)
    except DataError as error:
        return str(error)


def test_headers_of_one_encoder_are_taken_apart_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = parsed(monkeypatch)
    images = [encode_jpeg(np.full((112, 112, 3), level, dtype=np.uint8)) for level in range(0, 240, 40)]
    found = {read_header(data)[:3] for data in images}
    assert found == {("JPEG", 112, 112)}
    assert seen == images[:1]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}])
def test_damaged_files_are_judged_alike_with_and_without_a_header_that_is_kept(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    chance = random.Random(str(options))
    files = [jpeg(level, side, **options) for level in (0, 80, 200) for side in (16, 1024)]
    verdicts = set()
    for _ in range(400):
        data = bytearray(chance.choice(files))
        for _ in range(chance.randrange(3)):
            at = chance.randrange(len(data) - 16)
            if chance.random() < 0.3:
                del data[at : at + chance.randrange(1, 9)]
            else:
                data[at] = chance.randrange(256)
        data = data[: chance.choice([len(data), len(data), chance.randrange(2, 2000)])]
        monkeypatch.setattr(header, "_admitted", ())
        for whole in files[:2]:
            read_header(whole)
        kept = judged(bytes(data))
        monkeypatch.setattr(header, "_admitted", ())
        assert kept == judged(bytes(data))
        verdicts.add(type(kept))
    assert verdicts == {Header, str}


def test_a_file_cut_off_behind_a_header_that_is_kept_is_refused() -> None:
    whole = jpeg(0, 1024)
    assert read_header(whole).width == 1024
    with pytest.raises(DataError, match="cannot hold the 1024×1024 pixels"):
        read_header(whole[:1000])


def test_a_picture_with_metadata_is_not_kept() -> None:
    exif = Image.Exif()
    for orientation in (6, 1, 3):
        exif[0x0112] = orientation
        found = read_header(encoded(picture(32), "JPEG", exif=exif))
        assert found.jpeg is not None
        assert found.jpeg.orientation == orientation
    assert header._admitted == ()


def test_few_headers_are_kept_and_the_latest_stays() -> None:
    for side in range(16, 16 + 8 * KEPT_HEADERS, 4):
        read_header(jpeg(0, side))
    assert len(header._admitted) == KEPT_HEADERS
    assert header._admitted[0][1].width == side
    assert decode_image(jpeg(1, side)).shape == (side, side, 3)
