"""Training sets whose images lie inside archives: WebDataset shards and Hugging Face image Parquet."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from oaml_core.data.check.checks import check_source
from oaml_core.data.prepare.prepare import prepare_dataset
from oaml_core.data.prepared.prepared import fetch_prepared
from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.inputs import open_training
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.errors import DataError
from oaml_core.store import open_store
from tests.data_layer.conftest import face

LONG = "a-folder-of-a-name-that-is-longer-than-a-header-of-a-tar-archive-can-hold/" * 2


def jpeg(number: int) -> bytes:
    return encode_jpeg(face(number))


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def shards(folder: Path) -> Path:
    """Two shards of three people with four images each; labels in all ways."""
    first = [
        member
        for image in range(6)
        for member in ((f"{image:04d}.jpg", jpeg(image)), (f"{image:04d}.cls", str(image % 3 + 1000).encode()))
    ]
    second = [
        *((f"{LONG}06.json", b'{"identity": 1000}'), (f"{LONG}06.face.jpg", jpeg(6))),
        *(("07.JPG", jpeg(7)), ("07.txt", b"1001\n")),
        *(("08.png", jpeg(8)), ("08.json", b'{"label": "1002", "caption": "x"}')),
        *(("nobody.jpg", jpeg(9)), ("strange.cls", b"1"), ("bad.jpg", jpeg(10)), ("bad.json", b"{")),
    ]
    write_tar(folder / "train" / "faces-000.tar", first)
    write_tar(folder / "train" / "faces-001.tar", second)
    return folder


def test_shards_are_read_where_they_lie(tmp_path: Path, config) -> None:
    source = open_training(LocalFolder(shards(tmp_path / "set")), tmp_path)
    assert source.kind == "webdataset"
    assert [source.identity_name(int(label)) for label in source.labels] == ["1000", "1001", "1002"] * 3
    assert [source.read(number) for number in range(9)] == [jpeg(number) for number in range(9)]
    assert source.name(0) == "train/faces-000.tar/0000.jpg"
    assert source.name(7) == "train/faces-001.tar/07.JPG"
    assert list(source.find([source.name(5), source.name(2)])) == [5, 2]
    report = check_source(str(tmp_path / "set"), config(broken_images_tolerated=0.5))
    assert {item.name for item in report.set_aside} == {"train/faces-001.tar/nobody", "train/faces-001.tar/bad"}


def test_a_shard_that_was_cut_off_is_named_and_the_rest_is_used(tmp_path: Path) -> None:
    folder = shards(tmp_path / "set")
    path = folder / "train" / "faces-001.tar"
    path.write_bytes(path.read_bytes()[: 512 * 9])
    (folder / "train" / "faces-002.tar").write_bytes(b"no archive" * 100)
    source = open_training(LocalFolder(folder), tmp_path)
    assert len(source) >= 6
    named = {name.split("/")[1] for name, _ in source.damaged}
    assert "faces-002.tar" in named
    assert named <= {"faces-001.tar", "faces-002.tar"}


def test_shards_without_labels_say_what_is_missing(tmp_path: Path) -> None:
    write_tar(tmp_path / "set" / "a.tar", [("1.jpg", jpeg(1)), ("2.jpg", jpeg(2))])
    with pytest.raises(DataError, match=r"label of the same key \(\.cls, \.txt or \.json\)"):
        open_training(LocalFolder(tmp_path / "set"), tmp_path)


def test_shards_become_a_data_set_and_new_content_another(tmp_path: Path, config) -> None:
    folder = shards(tmp_path / "set")
    settings = config(folder, broken_images_tolerated=0.5)
    store = open_store(str(tmp_path / "store"))
    made = prepare_dataset(settings, store)
    found = fetch_prepared(made.uri, tmp_path / "fetched").manifest
    assert (found.images, found.num_identities, found.source_kind) == (9, 3, "webdataset")
    write_tar(folder / "train" / "faces-002.tar", [("9.jpg", jpeg(99)), ("9.cls", b"1000")])
    assert prepare_dataset(settings, store).fingerprint != made.fingerprint


def write_parquet(path: Path, images: list[Any], labels: list[Any], column: str = "label", names: Any = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table({"image": images, column: labels})
    if names:
        info = {"info": {"features": {column: {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    pyarrow.parquet.write_table(table, path, row_group_size=2)


def test_image_parquet_is_read_by_the_row_group(tmp_path: Path, config) -> None:
    folder = tmp_path / "set"
    structs = [{"bytes": jpeg(number), "path": f"{number}.jpg"} for number in range(7)]
    names = ["anna", "berta", "carla"]
    labels: list[Any] = [0, 1, 2, None, 0, 1, 2]
    write_parquet(folder / "data" / "train-00000-of-00002.parquet", structs, labels, names=names)
    write_parquet(folder / "data" / "train-00001-of-00002.parquet", structs[:2], [0, 1], names=names)
    write_parquet(folder / "data" / "test-00000-of-00001.parquet", structs[:1], [2], names=names)
    source = open_training(LocalFolder(folder), tmp_path)
    assert source.kind == "image_parquet"
    people = [source.identity_name(int(label)) for label in source.labels]
    assert people == ["anna", "berta", "carla", "anna", "berta", "carla", "anna", "berta"]
    assert [source.read(number) for number in (3, 0, 7)] == [jpeg(4), jpeg(0), jpeg(1)]
    assert list(source.find([source.name(6)])) == [6]
    report = check_source(str(folder), config(broken_images_tolerated=0.5))
    assert [item.name for item in report.set_aside] == ["data/train-00000-of-00002.parquet group 1 row 1"]


def test_image_parquet_of_plain_bytes_and_of_missing_images(tmp_path: Path, config) -> None:
    images = [jpeg(0), jpeg(1), None, jpeg(3)]
    write_parquet(tmp_path / "set" / "train.parquet", images, ["x", "y", "x", "y"], column="identity")
    source = open_training(LocalFolder(tmp_path / "set"), tmp_path)
    assert source.read(3) == jpeg(3)
    report = check_source(str(tmp_path / "set"), config(broken_images_tolerated=0.5))
    (item,) = report.set_aside
    assert "row holds no image bytes" in item.reason


def test_image_parquet_without_an_identity_names_its_columns(tmp_path: Path) -> None:
    write_parquet(tmp_path / "set" / "train-0.parquet", [jpeg(0)], ["a caption"], column="caption")
    with pytest.raises(DataError, match="has the columns image, caption; it needs image and one of label"):
        open_training(LocalFolder(tmp_path / "set"), tmp_path)
