"""Photographs as they come, and as nobody should send them, through every command that looks for faces in them."""

from __future__ import annotations

import csv
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image
from published_graph import write_published

from oaml_core.cli import main
from oaml_core.export.global_only import Foreign, wrap_recogniser

ASTRONAUT = Image.fromarray(skimage.data.astronaut())


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and holds hardly anything."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def deep_grey() -> bytes:
    grey = np.asarray(ASTRONAUT.convert("L"), dtype=np.uint16) * 257
    return encoded(Image.fromarray(grey), "PNG")


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 3
    return encoded(ASTRONAUT.rotate(180), "WEBP", exif=exif)


USABLE: dict[str, Callable[[], bytes]] = {
    "grey.jpg": lambda: encoded(ASTRONAUT.convert("L"), "JPEG", quality=92),
    "deep.png": deep_grey,
    "cmyk.jpg": lambda: encoded(ASTRONAUT.convert("CMYK"), "JPEG", quality=92),
    "palette.gif": lambda: encoded(ASTRONAUT.convert("P"), "GIF"),
    "upside-down.webp": turned,
    "transparent.png": lambda: encoded(ASTRONAUT.convert("RGBA"), "PNG"),
}
LONG = "panorama.png"
"""Takes long to search, once is enough."""
UNUSABLE: dict[str, tuple[Callable[[], bytes], str]] = {
    "cut.jpg": (lambda: encoded(ASTRONAUT, "JPEG", quality=92)[:20_000], "damaged"),
    "cut.png": (lambda: encoded(ASTRONAUT, "PNG")[:90_000], "unreadable"),
    "bomb.png": (lambda: png_header(60_000, 60_000), "pixels"),
    "hollow.png": (lambda: png_header(2_000, 2_000), "unreadable"),
    "one.png": (lambda: encoded(ASTRONAUT.resize((1, 1)), "PNG"), "1 × 1"),
    "line.png": (lambda: encoded(ASTRONAUT.resize((900, 1)), "PNG"), "900 × 1"),
    LONG: (lambda: encoded(Image.new("RGB", (20_000, 64), (90, 120, 160)), "PNG"), "No face was found"),
    "phone.heic": (lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400), "HEIC"),
    "empty.jpg": (lambda: b"", "empty"),
    "text.jpg": (lambda: b"no picture at all", "not an image"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of these photographs, a good one, and a recogniser."""
    folder = tmp_path_factory.mktemp("photographs")
    for name, make in USABLE.items():
        (folder / name).write_bytes(make())
    for name, (make, _) in UNUSABLE.items():
        (folder / name).write_bytes(make())
    ASTRONAUT.save(folder / "good.png")
    model = write_published(folder.parent / "published.onnx")
    wrap_recogniser(model, folder.parent / "model.onnx", Foreign("MIT"))
    return folder


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.mark.parametrize("name", USABLE)
def test_the_face_of_any_kind_of_photograph_is_compared(
    place: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ("--onnx", place.parent / "model.onnx", "--out", tmp_path / "m.png")
    assert run("match", place / "good.png", place / name, *model) == 0
    said = capsys.readouterr().out
    assert float(said.split()[1].rstrip(",;")) > 0.8, "the same face, whatever the file"
    assert f"{name}: found" in said


@pytest.mark.parametrize(("name", "reason"), [(name, reason) for name, (_, reason) in UNUSABLE.items() if name != LONG])
def test_unusable_photographs_are_named_with_the_reason(
    place: Path, tmp_path: Path, name: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ("--onnx", place.parent / "model.onnx")
    people = tmp_path / "people"
    people.mkdir()
    (people / "her.png").write_bytes((place / "good.png").read_bytes())
    assert run("match", place / "good.png", place / name, *model, "--out", tmp_path / "m.png") == 1
    assert run("identify", place / name, "--gallery", people, *model, "--out", tmp_path / "i.png") == 1
    assert run("gallery", "add", tmp_path / "g", place / name, "--person", "her", *model) != 0
    messages = capsys.readouterr().err.splitlines()
    assert len(messages) == 3, "one line per command, and no traceback"
    for message in messages:
        assert name in message
        assert reason in message
    assert not (tmp_path / "m.png").exists()


def test_a_collection_with_unusable_photographs_is_aligned_without_them(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("align", place, out) == 0
    rejects = {row["photo"]: row["reason"] for row in csv.DictReader((out / "rejects.csv").open(encoding="utf-8"))}
    assert set(rejects) == set(UNUSABLE)
    for name, (_, reason) in UNUSABLE.items():
        assert reason in rejects[name]
    assert {path.name for path in out.glob("*.png")} == {f"{name}.png" for name in [*USABLE, "good.png"]}
