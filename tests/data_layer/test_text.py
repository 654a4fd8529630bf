"""Lists as programs write them: separators, encodings, cells of several lines, and values that are missing."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.image_list import ImageListSource
from oaml_core.data.sources.inputs import open_training
from oaml_core.data.sources.text import read_table
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.errors import DataError
from tests.data_layer.conftest import face
from tests.data_layer.test_shards_and_parquet import write_tar

MISSING = ["", " ", "NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None", "<NA>"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_cells_of_several_lines_stay_whole(separator: str, encoding: str, line_break: str) -> None:
    rows = [("path", "identity"), ('"a/0.jpg"', f'"Zoë{separator}{line_break}""Z"""'), ("b/0.jpg", "Ben")]
    data = line_break.join(map(separator.join, rows)).encode(encoding)
    table = read_table(data, "train.csv")
    assert table.columns["identity"] == [f'Zoë{separator}{line_break}"Z"', "Ben"]
    assert table.lines[-1] == 4


def test_a_column_that_is_there_twice_is_refused() -> None:
    """Spreadsheets that were joined have it; of two columns one would be lost without a word."""
    with pytest.raises(DataError, match="has the column 'identity' twice"):
        read_table(b"path,identity,Identity\na.jpg,Anna,x\n", "train.csv")
    assert read_table(b"path,identity,,\na.jpg,Anna,,\n", "train.csv").columns["identity"] == ["Anna"]


def test_a_stated_separator_is_used() -> None:
    table = read_table(b"sep=;\r\npath;identity\r\na,b,c.jpg;Anna\r\n", "train.csv")
    assert table.columns == {"path": ["a,b,c.jpg"], "identity": ["Anna"]}
    assert table.lines == [3]


@pytest.mark.parametrize("cell", MISSING)
def test_missing_values_are_set_aside_and_become_nobody(tmp_path: Path, cell: str) -> None:
    (tmp_path / "train.csv").write_text(f"path,identity\na.jpg,Anna\nb.jpg,{cell}\nc.jpg,Nancy\n")
    source = ImageListSource(LocalFolder(tmp_path))
    assert source.identities.tolist() == ["Anna", "Nancy"]
    assert source.damaged[0][0] == "b.jpg (line 3)"


def test_paths_of_windows_name_the_same_files(tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna" / "0.jpg").write_bytes(encode_jpeg(face(0)))
    (tmp_path / "train.csv").write_text("path,identity\nanna\\0.jpg,Anna\n./anna/0.jpg,Anna\n")
    assert ImageListSource(LocalFolder(tmp_path)).names == ["anna/0.jpg"]


def test_missing_labels_inside_shards_are_set_aside(tmp_path: Path) -> None:
    image = encode_jpeg(face(0))
    labels = [b'{"label": 7}', b'{"label": NaN}', b'{"identity": null, "label": 8}', b'{"label": "None"}']
    members = [m for n, label in enumerate(labels) for m in ((f"{n}.jpg", image), (f"{n}.json", label))]
    write_tar(tmp_path / "a.tar", [*members, ("9.jpg", image), ("9.txt", b"NULL\n")])
    source = open_training(LocalFolder(tmp_path), tmp_path)
    assert [source.identity_name(int(label)) for label in source.labels] == ["7", "8"]
    assert {name for name, _ in source.damaged} == {"a.tar/1", "a.tar/3", "a.tar/9"}


@pytest.mark.parametrize("named", [True, False])
def test_missing_labels_of_parquet_are_set_aside(tmp_path: Path, named: bool) -> None:
    image = encode_jpeg(face(0))
    kind, values = (pyarrow.int64(), [0, -1, 1]) if named else (pyarrow.float64(), [3.0, float("nan"), 4.0])
    table = pyarrow.table({"image": [image] * 3, "label": pyarrow.array(values, kind)})
    if named:
        features = {"info": {"features": {"label": {"names": ["Anna", "Ben"], "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pyarrow.parquet.write_table(table, tmp_path / "train-00000-of-00001.parquet")
    source = open_training(LocalFolder(tmp_path), tmp_path)
    assert [source.identity_name(int(label)) for label in source.labels] == (
        ["Anna", "Ben"] if named else ["3.0", "4.0"]
    )
    assert [name for name, _ in source.damaged] == ["train-00000-of-00001.parquet group 0 row 1"]
