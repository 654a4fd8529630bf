"""Numbers of people that a file holds rounded are told: people who became one cannot be told apart any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from oaml_core.config import Config
from oaml_core.data.check.checks import check_source
from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.inputs import open_training
from oaml_core.data.sources.recordio import frame_record
from oaml_core.data.sources.rounded import rounded_floats, rounded_texts
from oaml_core.decoding.decode import encode_jpeg


def image(number: int) -> bytes:
    return encode_jpeg(np.random.default_rng(number).integers(0, 255, (112, 112, 3), dtype=np.uint8))


def notes(folder: Path) -> list[str]:
    source: Any = open_training(LocalFolder(folder), folder / "cache")
    return list(source.notes)


def test_labels_of_records_beyond_float32(tmp_path: Path) -> None:
    """Three customers, of whom two get the same number as float32."""
    numbers = (1_000_000_001, 1_000_000_002, 1_000_000_999)
    (tmp_path / "train.rec").write_bytes(
        b"".join(frame_record(image(place), (float(number),), place + 1) for place, number in enumerate(numbers))
    )
    report = check_source(str(tmp_path), Config(work_dir=str(tmp_path / "work")))
    (found,) = [one for one in report.findings if "float32" in one.remedy + one.result]
    assert found.verdict == "warning"
    assert "so one person" in found.result
    assert "2 identities" in report.table()


def test_headers_beyond_float32_prove_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "train.rec"
    for announced, said in ((float(1 << 25), True), (4.0, True), (3.0, False)):
        path.write_bytes(
            frame_record(b"", (announced, 0.0)) + frame_record(image(1), (0.0,), 1) + frame_record(image(2), (1.0,), 2)
        )
        assert any("announces" in note for note in notes(tmp_path)) is said


@pytest.mark.parametrize(
    ("kind", "numbers", "told"),
    [("float32", [16777216.0, 3.0], False), ("float32", [16777220.0, 3.0], True), ("float64", [1e10 + 1, 3.0], False)],
)
def test_float_columns(kind: str, numbers: list[float], told: bool, tmp_path: Path) -> None:
    column = pyarrow.array(numbers, type=getattr(pyarrow, kind)())
    table = pyarrow.table({"image": [image(1), image(2)], "label": column})
    pyarrow.parquet.write_table(table, tmp_path / "train-0.parquet")
    assert any("so one person" in note for note in notes(tmp_path)) is told
    (tmp_path / "train-0.parquet").unlink()
    table = pyarrow.table({"path": ["a.jpg", "b.jpg"], "identity": column})
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    assert any("so one person" in note for note in notes(tmp_path)) is told


def test_every_file_of_images_says_how_its_numbers_are_rounded(tmp_path: Path) -> None:
    for number, kind in enumerate(("float32", "string")):
        values = [float(1 << 30), 3.0] if kind == "float32" else ["1.23457E+12", "anna"]
        column = pyarrow.array(values, type=getattr(pyarrow, kind)())
        for place in (2 * number, 2 * number + 1):
            table = pyarrow.table({"image": [image(1), image(2)], "label": column})
            pyarrow.parquet.write_table(table, tmp_path / f"train-{place}.parquet", row_group_size=1)
    told = notes(tmp_path)
    assert [name for name in ("train-0", "train-1") for note in told if f"{name}.parquet, column label" in note] == [
        "train-0",
        "train-1",
    ]
    assert sum("shortened" in note for note in told) == 1


@pytest.mark.parametrize("name", ["train.csv", "train.txt"])
def test_numbers_that_a_spreadsheet_shortened(name: str, tmp_path: Path) -> None:
    rows = ["a.jpg;1,23457E+12", "b.jpg;1,23457E+12", "c.jpg;anna"]
    head = ["path;identity"]
    if name == "train.txt":
        rows, head = [row.replace(";", " ") for row in rows], []
    (tmp_path / name).write_text("\n".join([*head, *rows]) + "\n")
    for file in "abc":
        (tmp_path / f"{file}.jpg").write_bytes(image(ord(file)))
    (told,) = [note for note in notes(tmp_path) if "shortened" in note]
    assert "1,23457E+12" in told
    assert name in told


def test_exact_numbers_are_not_doubted() -> None:
    assert not rounded_floats(2.0**24, 32, "x")
    assert not rounded_floats(2.0**53, 64, "x")
    assert rounded_floats(2.0**12, 16, "x")
    assert not rounded_texts(["1234567890123", "12e", "e5", "anna", "1E-3"], "x")
