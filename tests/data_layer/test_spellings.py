"""One person, one file, one format: however it is spelled, it is read as the same, or refused by its name."""

from __future__ import annotations

import struct
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from oaml_core.data.check.checks import check_source
from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.image_folder import ImageFolderSource
from oaml_core.data.sources.inputs import open_training
from oaml_core.data.sources.text import one_spelling
from oaml_core.data.sources.verification import open_verification_source
from oaml_core.decoding.decode import decode_image
from oaml_core.errors import DataError
from oaml_core.printable_names import shown
from tests.data_layer.test_shards_and_parquet import jpeg, write_tar

COMPOSED = unicodedata.normalize("NFC", "bj\u00f6rn")
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)
"""As macOS writes it."""


def faces(folder: Path, *names: str) -> None:
    for level, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), level, dtype=np.uint8)).save(folder / name)


def people(folder: Path) -> dict[str, int]:
    source = open_training(LocalFolder(folder), folder)
    return {
        source.identity_name(label): int((source.labels == label).sum()) for label in range(len(set(source.labels)))
    }


def test_identities_have_one_spelling() -> None:
    assert one_spelling("12.0") == one_spelling("12") == "12"
    assert one_spelling(DECOMPOSED) == one_spelling(COMPOSED)
    for kept in ("012", "1.5", "1e3", "v1.0", "9007199254740993", "anna"):
        assert one_spelling(kept) == kept
    assert one_spelling("9007199254740993.0") == "9007199254740993"


@pytest.mark.parametrize("file", ["train.csv", "train.txt"])
def test_accents_of_two_systems_are_one_person_and_one_file(tmp_path: Path, file: str) -> None:
    faces(tmp_path, f"{DECOMPOSED}/0.png", f"{DECOMPOSED}/1.png", "anna/0.png")
    rows = [(f"{COMPOSED}/0.png", COMPOSED), (f"{COMPOSED}/1.png", DECOMPOSED), ("anna/0.png", "anna")]
    if file == "train.csv":
        text = "path,identity\n" + "".join(f"{path},{name}\n" for path, name in rows)
    else:
        text = "".join(f"{path} {name}\n" for path, name in rows)
    (tmp_path / file).write_text(text, encoding="utf-8")
    source = open_training(LocalFolder(tmp_path), tmp_path)
    assert people(tmp_path) == {"anna": 1, COMPOSED: 2}
    assert all(source.read(number) for number in range(3))  # the files are found under their own names


def test_folders_of_two_systems_are_one_person(tmp_path: Path) -> None:
    faces(tmp_path, f"{DECOMPOSED}/0.png", f"{COMPOSED}/1.png", "anna/0.png")
    assert len(ImageFolderSource(LocalFolder(tmp_path)).identities) == 2


@pytest.mark.parametrize(
    "other", ["Anna Berg", "anna berg ", "anna_berg", "anna-berg", "ANNA  BERG", "anna berg\u200b"]
)
def test_names_that_differ_by_case_or_blanks_are_pointed_out(tmp_path: Path, config: Any, other: str) -> None:
    faces(tmp_path / "set", "anna berg/0.png", "anna berg/1.png", f"{other}/0.png", f"{other}/1.png", "carl/0.png")
    warnings = check_source(str(tmp_path / "set"), config(tmp_path / "set")).warnings
    assert any("1 name is written in several ways" in one and f"'{shown(other)}'" in one for one in warnings), warnings


def test_numbers_and_other_people_are_not_alike(tmp_path: Path, config: Any) -> None:
    faces(tmp_path / "set", "1/0.png", "01/0.png", "anna/0.png", "anna2/0.png", "ann a/0.png")
    assert "several ways" not in " ".join(check_source(str(tmp_path / "set"), config(tmp_path / "set")).warnings)


@pytest.mark.parametrize(
    ("there", "listed"),
    [
        ("anna/0.png", "anna/0.PNG"),
        ("anna/0.png", "Anna/0.jpg"),
        ("anna/0.JPG", "anna/0.jpg"),
        ("anna/0.png", "anna/0"),
        ("anna/0.png", "set/anna/0.png"),
        ("anna/0.png", "file://anna/0.png"),
    ],
)
def test_names_of_a_list_that_differ_by_case_or_ending_are_told_with_the_file(
    tmp_path: Path, config: Any, there: str, listed: str
) -> None:
    faces(tmp_path / "set", "berta/0.png", there.replace(".JPG", ".png"))
    (tmp_path / "set" / there.replace(".JPG", ".png")).rename(tmp_path / "set" / there)
    (tmp_path / "set" / "train.csv").write_text(f"path,identity\n{listed},anna\nberta/0.png,berta\n")
    report = check_source(str(tmp_path / "set"), config(tmp_path / "set"))
    assert f"{there} is there, under a name of its own" in report.set_aside[0].reason
    assert "write names as the files have them (1 file has another ending" in " ".join(report.reasons)
    assert "copy what is missing" not in " ".join(report.reasons)


def test_pairs_name_files_of_another_system(tmp_path: Path) -> None:
    faces(tmp_path, f"{DECOMPOSED}/0.png", f"{DECOMPOSED}/1.png", "anna/0.png")
    text = f"first,second,same\n{COMPOSED}/0.png,./{COMPOSED}/1.png,1.0\nanna\\0.png,{COMPOSED}/0.png,0.0\n"
    (tmp_path / "own_pairs.csv").write_text(text, encoding="utf-8")
    found = open_verification_source(LocalFolder(tmp_path), "own", "own_pairs.csv")
    assert found.issame.tolist() == [True, False]
    assert len(list(found.read_images())) == 4


def test_numbers_of_a_column_with_gaps_are_the_same_people(tmp_path: Path) -> None:
    faces(tmp_path, *(f"{number}.png" for number in range(6)))
    rows = ["0.png,1", "1.png,1.0", "2.png,2.0", "3.png,", "4.png,-1", "5.png,-1.0"]
    (tmp_path / "train.csv").write_text("path,identity\n" + "\n".join(rows))
    source = open_training(LocalFolder(tmp_path), tmp_path)
    assert people(tmp_path) == {"1": 2, "2": 1}
    assert [name for name, _ in source.damaged] == [f"{k}.png (line {k + 2})" for k in (3, 4, 5)]


def preview(tag: int, value: int) -> bytes:
    """A TIFF of one grey pixel whose first table has one more tag, as raw files of cameras have it."""
    tags = [(254, 4, 0), (256, 4, 1), (257, 4, 1), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (278, 4, 1)]
    tags = sorted({**{t: (k, v) for t, k, v in [*tags, (279, 4, 1)]}, tag: (4, value)}.items())
    table = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", t, k, 1, v) for t, (k, v) in tags)
    return struct.pack("<2sHI", b"II", 42, 10) + b"\x80\0" + table + bytes(4)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n", "pointer of Git LFS"),
        (b"\r\n<!DOCTYPE html><html>not found</html>", "a web page"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"\xff\x0a" + bytes(40), "JPEG XL"),
        (b"8BPS" + bytes(40), "Photoshop"),
        (b"%PDF-1.7" + bytes(40), "PDF"),
        (b"PK\3\4" + bytes(40), "ZIP"),
        (b"\0\5\x16\7" + bytes(40), "AppleDouble"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(40), "CR2"),
        (b"\0\0\0\x18ftypcrx " + bytes(40), "CR3"),
        (b"\0\0\0\x18ftypisom" + bytes(40), "a video"),
        (preview(254, 1), "raw files of cameras"),
        (preview(50706, 0x104), "raw files of cameras"),
    ],
)
def test_files_that_are_no_images_are_refused_by_what_they_are(data: bytes, name: str) -> None:
    with pytest.raises(DataError, match=name):
        decode_image(data)


def test_a_plain_tiff_is_no_preview() -> None:
    assert decode_image(preview(254, 0)).tolist() == [[[128, 128, 128]]]


def test_labels_beside_and_in_shards_have_one_spelling(tmp_path: Path) -> None:
    """A column of strings, of bytes, and labels of WebDataset."""
    labels = [DECOMPOSED, f" {COMPOSED} ", "12.0", "12"]
    for kind in (pyarrow.string(), pyarrow.binary()):
        values = [label if kind == pyarrow.string() else label.encode() for label in labels]
        table = pyarrow.table({"image": [jpeg(n) for n in range(4)], "label": pyarrow.array(values, type=kind)})
        pyarrow.parquet.write_table(table, tmp_path / "train-0.parquet")
        assert people(tmp_path) == {COMPOSED: 2, "12": 2}
    (tmp_path / "train-0.parquet").unlink()
    endings = [(label.encode(), "cls") for label in labels[:2]] + [(b'{"identity": "12.0"}', "json"), (b"12\n", "txt")]
    members = [(f"{n}.{ending}", text) for n, (text, ending) in enumerate(endings)]
    write_tar(tmp_path / "train-0.tar", sorted([*members, *((f"{n}.jpg", jpeg(n)) for n in range(4))]))
    assert people(tmp_path) == {COMPOSED: 2, "12": 2}
