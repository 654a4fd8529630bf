"""Lists that name a file more than once, and sources in which other things lie than a reader wants."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from oaml_core.config import Config
from oaml_core.data.check.checks import check_source
from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.image_list import ImageListSource
from oaml_core.data.sources.labelled_list import LabelledListSource
from oaml_core.errors import DataError

Line = tuple[str, str]


def faces(folder: Path, names: Sequence[str]) -> None:
    for shade, name in enumerate(names):
        encoded = io.BytesIO()
        Image.new("RGB", (112, 112), (9 * shade, 80, 200)).save(encoded, "PNG")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded.getvalue())


def csv(folder: Path, lines: Sequence[Line]) -> ImageListSource:
    (folder / "train.csv").write_text("path,identity\n" + "".join(f"{path},{who}\n" for path, who in lines))
    return ImageListSource(LocalFolder(folder))


def parquet(folder: Path, lines: Sequence[Line]) -> ImageListSource:
    table = pyarrow.table({"path": [path for path, _ in lines], "identity": [who for _, who in lines]})
    pyarrow.parquet.write_table(table, folder / "train.parquet")
    return ImageListSource(LocalFolder(folder))


def text(folder: Path, lines: Sequence[Line]) -> LabelledListSource:
    (folder / "train.txt").write_text("".join(f"{path} {who}\n" for path, who in lines))
    return LabelledListSource(LocalFolder(folder), "train.txt")


@pytest.mark.parametrize("write", [csv, parquet, text])
def test_a_file_that_is_listed_twice_counts_once(tmp_path: Path, write: Callable[..., ImageListSource]) -> None:
    names = [f"{number}.png" for number in range(4)]
    faces(tmp_path, names)
    lines = [(names[0], "ann"), (names[1], "ann"), (names[2], "bob"), (names[3], "bob")]
    source = write(tmp_path, [*lines, lines[0], (f"./{names[1]}", "ann")])
    assert list(source.names) == names
    assert source.damaged == []
    assert "2 lines repeat a file" in " ".join(source.notes)
    assert names[0] in " ".join(source.notes)


@pytest.mark.parametrize("write", [csv, parquet, text])
def test_a_file_of_two_people_is_nobodys(tmp_path: Path, write: Callable[..., ImageListSource]) -> None:
    names = [f"{number}.png" for number in range(3)]
    faces(tmp_path, names)
    source = write(tmp_path, [(names[0], "ann"), (names[1], "ann"), (names[2], "bob"), (names[0], "bob")])
    assert list(source.names) == names[1:]
    assert [reason.endswith("gives it to ann, bob") for _, reason in source.damaged] == [True, True]
    assert all(names[0] in name for name, _ in source.damaged)


def test_a_list_of_which_no_line_is_used_says_why(tmp_path: Path) -> None:
    faces(tmp_path, ["0.png"])
    with pytest.raises(DataError, match=r"lists no image: 0.png \(line 2\): train.csv gives it no identity"):
        csv(tmp_path, [("0.png", "")])
    (tmp_path / "train.csv").write_text("filename,label\n0.png,ann\n")
    with pytest.raises(
        DataError, match="lacks the column 'path'; it needs path, identity; its columns are filename, label"
    ):
        ImageListSource(LocalFolder(tmp_path))


@pytest.mark.parametrize("below", ["@eaDir", "__MACOSX", "$RECYCLE.BIN", "anna/@eaDir/00.png", "lost+found"])
def test_what_systems_leave_behind_is_nobody(tmp_path: Path, below: str) -> None:
    names = [f"{who}/{number}.png" for who in ("anna", "bert") for number in range(3)]
    faces(tmp_path, [*names, f"{below}/thumbnail.png"])
    (tmp_path / "bert" / "Thumbs.db").write_bytes(b"x")
    report = check_source(str(tmp_path), Config(work_dir=str(tmp_path / "work")))
    said = " ".join(" ".join([*report.warnings, report.table()]).split())  # the table breaks lines
    assert "6 of 6 training images" in said
    assert "identities lost" not in said
    assert "ending that is read" not in said
    assert "operating systems" in said


def test_archives_and_tables_are_named_as_not_read(tmp_path: Path) -> None:
    faces(tmp_path, [f"{who}/{number}.png" for who in ("anna", "bert") for number in range(3)])
    (tmp_path / "carla.zip").write_bytes(b"PK")
    (tmp_path / "pairs.csv").write_text("file1,file2,same\n")
    (tmp_path / "anna" / "notes.csv").write_text("x\n")
    warnings = " ".join(check_source(str(tmp_path), Config(work_dir=str(tmp_path / "work"))).warnings)
    assert "1 archive is not read: carla.zip. Unpack them" in warnings
    assert "1 table is not read: pairs.csv. Lists that are read are called train.csv" in warnings
    assert "notes.csv is not read" not in warnings


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["0.jpg", "1.jpg"], "Files that lie there: 2 .jpg."),
        (["faces.zip", "a.txt"], "Unpack faces.zip."),
        (["data.parquet"], "Call a table train.parquet"),
        (["data.mdb"], "Files that lie there: 1 .mdb."),
    ],
)
def test_a_refused_source_says_what_lies_there(tmp_path: Path, files: list[str], said: str) -> None:
    for name in files:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError) as refusal:
        check_source(str(tmp_path), Config(work_dir=str(tmp_path / "work")))
    assert said in str(refusal.value)
