"""What is read of photographs and camera RAW files: pixels, camera, exposure."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from oaml_core.errors import DataError
from oaml_core.restoration.photographs import read_photograph

BLACK, WHITE = 512, 16383
NEUTRAL = ((1, 2), (1, 1), (2, 3))
"""Response of red, green and blue to grey; the camera's white balance makes up for it."""
Tag = tuple[int, int, bytes]


def mosaic(signal: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Return what an RGGB sensor with `NEUTRAL` reads of a grey scene, signal [H, W] in [0, 1]."""
    response = np.ones_like(signal)
    response[0::2, 0::2], response[1::2, 1::2] = (NEUTRAL[i][0] / NEUTRAL[i][1] for i in (0, 2))
    return np.round(BLACK + signal * response * (WHITE - BLACK)).astype(np.uint16)


def dng(values: NDArray[np.uint16], seconds: tuple[int, int] = (10, 1), iso: int = 800) -> bytes:
    """A DNG file: an uncompressed mosaic with its levels, white balance, camera and exposure."""

    def packed(kind: int, form: str, *numbers: int) -> Tag:
        per = 2 if kind in (5, 10) else 1
        return kind, len(numbers) // per, struct.pack(f"<{len(numbers)}{form}", *numbers)

    def directory(tags: dict[int, Tag], at: int) -> bytes:
        cells, beyond = b"", b""
        for tag, (kind, count, value) in sorted(tags.items()):
            if len(value) > 4:
                beyond += value + b"\0" * (len(value) % 2)
                value = struct.pack("<I", at + 6 + 12 * len(tags) + len(beyond) - len(value) - len(value) % 2)
            cells += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
        return struct.pack("<H", len(tags)) + cells + b"\0" * 4 + beyond

    height, width = values.shape
    pixels = values.astype("<u2").tobytes()
    exposure = {33434: packed(5, "I", *seconds), 34855: packed(3, "H", iso)}
    unit = [number for i in range(9) for number in (int(i % 4 == 0), 1)]
    tags: dict[int, Tag] = {tag: packed(4, "I", number) for tag, number in ((254, 0), (256, width), (257, height))}
    tags |= {tag: packed(3, "H", number) for tag, number in ((258, 16), (259, 1), (262, 32803), (274, 1), (277, 1))}
    tags |= {tag: packed(4, "I", number) for tag, number in ((273, 0), (278, height), (279, len(pixels)), (34665, 0))}
    tags |= {271: (2, 5, b"OAML\0"), 272: (2, 6, b"One R\0"), 50708: (2, 11, b"OAML One R\0")}
    tags |= {33421: packed(3, "H", 2, 2), 33422: packed(1, "B", 0, 1, 1, 2), 50706: packed(1, "B", 1, 4, 0, 0)}
    tags |= {50714: packed(3, "H", BLACK), 50717: packed(4, "I", WHITE), 50721: packed(10, "i", *unit)}
    tags |= {50728: packed(5, "I", *(number for pair in NEUTRAL for number in pair)), 50778: packed(3, "H", 21)}
    place = 8 + len(directory(tags, 8))
    tags[34665] = packed(4, "I", place)
    tags[273] = packed(4, "I", place + len(directory(exposure, place)))
    return b"II*\0" + struct.pack("<I", 8) + directory(tags, 8) + directory(exposure, place) + pixels


def test_a_raw_file_is_linear_without_black_level_and_in_balance(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    signal = np.linspace(0, 0.45, 96)[None].repeat(64, 0)
    (tmp_path / "a.dng").write_bytes(dng(mosaic(signal)))
    found = read_photograph(tmp_path / "a.dng")
    assert found.image.shape == (3, 32, 48)
    grey = torch.from_numpy(signal.reshape(32, 2, 48, 2).mean((1, 3))).float()
    assert ((found.image + 1) / 2 - grey).abs().max() < 0.004
    assert (found.camera, found.exposure) == ("OAML One R ISO 800", 10.0)


def test_the_noise_of_a_raw_file_stays_independent_from_pixel_to_pixel(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    noisy = np.random.default_rng(0).normal(0.3, 0.02, (128, 128))
    (tmp_path / "a.DNG").write_bytes(dng(mosaic(noisy)))
    red = read_photograph(tmp_path / "a.DNG").image[0]
    beside = torch.corrcoef(torch.stack([red[:, :-1].flatten(), red[:, 1:].flatten()]))[0, 1]
    assert abs(float(beside)) < 0.06
    assert red.std() == pytest.approx(2 * 0.02, rel=0.1)


def test_raw_files_without_the_package_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    (tmp_path / "a.nef").write_bytes(b"II*\0")
    with pytest.raises(DataError, match=r"oaml\[raw\]"):
        read_photograph(tmp_path / "a.nef")


@pytest.mark.parametrize("content", [b"", b"II*\0", b"no camera wrote this"])
def test_what_is_no_raw_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("rawpy")
    (tmp_path / "a.cr2").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.cr2 is no RAW file"):
        read_photograph(tmp_path / "a.cr2")


def test_photographs_tell_camera_and_exposure_by_exif_else_by_their_name(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Canon", "Canon EOS R"
    exif.get_ifd(0x8769)[0x829A], exif.get_ifd(0x8769)[0x8827] = 0.04, 3200
    picture = Image.fromarray(np.full((8, 8, 3), 51, dtype=np.uint8))
    picture.save(tmp_path / "a_10s.jpg", exif=exif, quality=100)
    picture.save(tmp_path / "b_10s_x.png")
    picture.save(tmp_path / "c.png")
    found = [read_photograph(tmp_path / name) for name in ("a_10s.jpg", "b_10s_x.png", "c.png")]
    assert [(one.camera, one.exposure) for one in found] == [("Canon EOS R ISO 3200", 0.04), ("", 10.0), ("", None)]
    assert found[2].image.unique().tolist() == pytest.approx([-0.6])
