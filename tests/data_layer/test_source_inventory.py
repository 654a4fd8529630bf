"""A source that an S3 Inventory lists is prepared as one that the bucket lists."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from oaml_core.config import Config, DataConfig
from oaml_core.config.data import check_data
from oaml_core.data.prepare.finished import StoredDataset
from oaml_core.data.prepare.prepare import prepare_dataset
from oaml_core.data.prepare.shard_merge import prepare_sharded
from oaml_core.data.sources import inventory
from oaml_core.data.sources.base import open_folder
from oaml_core.data.sources.inventory import entries_of_inventory
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.embedded_s3 import embedded_s3
from oaml_core.errors import ConfigError, DataError
from oaml_core.store import Store, open_store
from oaml_core.store.keys import is_listed
from oaml_core.store.s3 import S3Store
from tests.data_layer.conftest import face
from tests.data_layer.written_inventory import (
    COLUMNS,
    TOP,
    Rows,
    csv_file,
    manifest_of,
    put_inventory,
    put_manifest,
    rows_of,
)

SOURCE = "s3://raw/faces"


@pytest.fixture
def contents() -> dict[str, bytes]:
    """Objects of the bucket by key: faces, what no reader sees, and what lies beside the source."""
    people = ("p00", "p 01", "p+02", "pé03", "50%04")
    faces = {f"faces/{who}/{n}.jpg": encode_jpeg(face(10 * p + n)) for p, who in enumerate(people) for n in range(3)}
    return faces | {"faces/p00/.DS_Store": b"x", "faces2/p00/1.jpg": b"another's", "readme.txt": b"text"}


@pytest.fixture
def lists(contents: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Bucket of the inventory, beside the one of the objects."""
    (tmp_path / "server").mkdir()
    with embedded_s3(tmp_path / "server") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        raw = open_store("s3://raw")
        for key, content in contents.items():
            raw.write_bytes(key, content)
        yield open_store("s3://lists")


@pytest.fixture
def rows(contents: dict[str, bytes], lists: Store) -> Rows:
    """Rows of an inventory of the bucket as it is."""
    return rows_of(contents, {info.key: info.tag for info in open_store("s3://raw").list()})


def config_of(folder: Path, inventory: str | None) -> Config:
    data = DataConfig(
        source=SOURCE,
        inventory=inventory,
        broken_images_tolerated=0.1,
        held_out_share=0.0,
        batch_size=4,
        num_instances=2,
    )
    return Config(work_dir=str(folder / "work"), data=data)


def night(folder: Path, inventory: str | None) -> StoredDataset:
    """Prepare the source in a folder that has its own store."""
    return prepare_dataset(config_of(folder, inventory), open_store(str(folder / "shelf")))


def prepared_bytes(folder: Path) -> dict[str, bytes]:
    top = folder / "shelf" / "datasets"
    return {
        path.relative_to(top).as_posix(): path.read_bytes()
        for path in top.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }


@pytest.fixture
def no_listing(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and a listing of the source fails."""

    def refuse() -> None:
        listed = S3Store._listed

        def watched(store: S3Store, full: str, top: str) -> Any:
            assert store.bucket != "raw", "the source was listed"
            return listed(store, full, top)

        monkeypatch.setattr(S3Store, "_listed", watched)

    return refuse


@pytest.mark.parametrize("kind", ["CSV", "Parquet"])
def test_the_same_bytes_are_prepared_as_from_a_listing(
    kind: str, rows: Rows, lists: Store, tmp_path: Path, no_listing: Callable[[], None]
) -> None:
    address = put_inventory(lists, rows[::-1], kind)
    listed, named = open_folder(SOURCE, tmp_path), open_folder(SOURCE, tmp_path, entries_of_inventory(address, SOURCE))
    assert named.files == listed.files
    assert [entry.name for entry in named.passed_over] == [entry.name for entry in listed.passed_over]
    one = night(tmp_path / "listed", None)
    no_listing()
    other = night(tmp_path / "named", address)
    assert (other.fingerprint, other.manifest.images) == (one.fingerprint, 15)
    bytes_of_one = prepared_bytes(tmp_path / "listed")
    assert bytes_of_one
    assert prepared_bytes(tmp_path / "named") == bytes_of_one


def test_nothing_new_is_told_by_the_inventory_alone(
    rows: Rows, lists: Store, tmp_path: Path, no_listing: Callable[[], None]
) -> None:
    first = night(tmp_path, None)
    address = put_inventory(lists, rows)
    no_listing()
    again = night(tmp_path, address)
    assert (again.fingerprint, again.reused) == (first.fingerprint, True)


def test_an_inventory_with_something_new_is_read_once(
    contents: dict[str, bytes], rows: Rows, lists: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = inventory.read_manifest
    monkeypatch.setattr(inventory, "read_manifest", lambda store, key: read.append(key) or real(store, key))
    first = night(tmp_path, put_inventory(lists, rows))
    fewer = {key: content for key, content in contents.items() if key != "faces/p00/0.jpg"}
    tags = {info.key: info.tag for info in open_store("s3://raw").list()}
    second = night(tmp_path, put_inventory(lists, rows_of(fewer, tags), date="2030-01-03T01-00Z"))
    assert (second.manifest.images, len(read)) == (first.manifest.images - 1, 2)


@pytest.mark.parametrize("kind", ["CSV", "Parquet"])
def test_an_upload_in_parts_is_told_apart_by_its_time(kind: str, tmp_path: Path) -> None:
    store, parts = open_store(str(tmp_path)), "f" * 32 + "-2"
    listed = rows_of({"faces/a.jpg": b"1", "faces/b.jpg": b"2", "faces/c.jpg": b"3"}, {"faces/b.jpg": parts})
    seconds = int(listed[0][6].timestamp())
    without_time = tuple(name for name in COLUMNS if name != "LastModifiedDate")
    for columns, told in ((COLUMNS, f"{parts} {seconds}"), (without_time, "")):
        put_inventory(store, listed, kind, columns=columns)
        manifest = inventory.read_manifest(store, f"{TOP}/2030-01-02T01-00Z/manifest.json")
        stamps = {entry.name: entry.stamp for entry in inventory.entries_below(manifest, "faces")}  # type: ignore[union-attr]
        assert stamps == {"a.jpg": listed[0][7], "b.jpg": told, "c.jpg": listed[2][7]}


def test_shards_take_the_inventory(rows: Rows, lists: Store, tmp_path: Path, no_listing: Callable[[], None]) -> None:
    whole = night(tmp_path / "whole", None)
    address = put_inventory(lists, rows)
    no_listing()
    parts = tmp_path / "parts"
    made = prepare_sharded(config_of(parts, address), open_store(str(parts / "shelf")), 3)
    assert made.fingerprint == whole.fingerprint


def test_the_newest_complete_date_is_taken(rows: Rows, lists: Store) -> None:
    address = put_inventory(lists, rows, date="2030-01-02T01-00Z")
    put_inventory(lists, rows_of({"faces/p00/0.jpg": b"x"}), date="2030-01-01T01-00Z")
    lists.write_bytes(f"{TOP}/2030-01-03T01-00Z/manifest.json", b"{}")
    assert len(list(entries_of_inventory(address, SOURCE))) == 15
    one = f"{address}/2030-01-01T01-00Z/manifest.json"
    assert [entry.name for entry in entries_of_inventory(one, SOURCE)] == ["p00/0.jpg"]


def test_an_old_inventory_is_used_with_a_warning(rows: Rows, lists: Store, caplog: pytest.LogCaptureFixture) -> None:
    file = csv_file(rows)
    lists.write_bytes(f"{TOP}/data/a.csv.gz", file)
    put_manifest(lists, manifest_of({f"{TOP}/data/a.csv.gz": file}, creationTimestamp="1514944800000"))
    with caplog.at_level(logging.WARNING):
        assert list(entries_of_inventory(lists.url(TOP), SOURCE))
    assert "written 2018-01-03 02:00 UTC" in caplog.text
    assert "days old" in caplog.text


@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
@pytest.mark.parametrize("change", ["gone", "changed"])
def test_what_is_not_as_the_inventory_says_is_named(
    change: str, known: bool, contents: dict[str, bytes], rows: Rows, lists: Store, tmp_path: Path
) -> None:
    address, raw, key = put_inventory(lists, rows), open_store("s3://raw"), "faces/p00/1.jpg"
    if known:  # its checksum was found on an earlier night
        first = night(tmp_path, address)
        open_store(str(tmp_path / "shelf")).delete(f"datasets/{first.fingerprint}/manifest.json")
    if change == "gone":
        raw.delete(key)
    else:
        raw.write_bytes(key, contents["faces/p00/2.jpg"].ljust(len(contents[key]), b"\0")[: len(contents[key])])
    if not known:
        with pytest.raises(DataError, match=rf"{key} .*{change} since .* next inventory"):
            night(tmp_path, address)
        return
    made = night(tmp_path, address)
    assert made.manifest.set_aside == 1
    reason = {"gone": "is listed, and is not there", "changed": "has changed since the source was listed"}[change]
    put = (tmp_path / "shelf" / "datasets").rglob("*")
    assert any(reason.encode() in path.read_bytes() for path in put if path.is_file())


def damaged_file(cut: Callable[[bytes], bytes], **keys: Any) -> Callable[[Store, dict[str, bytes]], None]:
    """Write an inventory of one file, which `cut` has damaged before its MD5 was taken."""

    def put(store: Store, contents: dict[str, bytes]) -> None:
        content, key = cut(csv_file(rows_of(contents))), f"{TOP}/data/a.csv.gz"
        store.write_bytes(key, content)
        put_manifest(store, manifest_of({key: content}, **keys))

    return put


def without(*names: str) -> Callable[[Store, dict[str, bytes]], None]:
    columns = tuple(name for name in COLUMNS if name not in names)
    return lambda store, contents: put_inventory(store, rows_of(contents), columns=columns) and None


def row(place: int, cell: Any) -> Callable[[Store, dict[str, bytes]], None]:
    """Write an inventory in which one cell is wrong."""

    def put(store: Store, contents: dict[str, bytes]) -> None:
        rows: Sequence[list[Any]] = rows_of(contents)
        rows[0][place] = cell
        put_inventory(store, rows)

    return put


def raw_key(key: bytes) -> Callable[[Store, dict[str, bytes]], None]:
    import gzip

    line = b'"raw","%s","1","true","false","5","","%s"\n' % (key, b"0" * 32)
    return damaged_file(lambda _: gzip.compress(line))


def overwrite(key: str, content: bytes) -> Callable[[Store, dict[str, bytes]], None]:
    def put(store: Store, contents: dict[str, bytes]) -> None:
        put_inventory(store, rows_of(contents))
        store.write_bytes(f"{TOP}/{key}", content)

    return put


@pytest.mark.parametrize(
    ("put", "told"),
    [
        (without("ETag"), r"data/.* lacks the column ETag\. Add it"),
        (without("Size"), r"lacks the column Size\. Add it"),
        (without("IsLatest"), r"earlier versions .* IsLatest\. Add it"),
        (damaged_file(lambda data: data[:-20]), r"a\.csv\.gz is damaged or cut off .* next inventory"),
        (damaged_file(lambda data: b"no gzip"), r"a\.csv\.gz is damaged or cut off"),
        (damaged_file(bytes, sourceBucket="other"), r"manifest\.json lists the bucket other, .* s3://raw/faces"),
        (damaged_file(bytes, fileFormat="ORC"), r"manifest\.json is of the format ORC.* Choose Parquet or CSV"),
        (damaged_file(bytes, creationTimestamp="soon"), r"creationTimestamp is no time"),
        (damaged_file(bytes, files=[{"key": "a"}]), r"entry of files lacks key or MD5checksum"),
        (damaged_file(bytes, files=[{"key": f"{TOP}/data/none", "MD5checksum": "0"}]), r"data/none is gone"),
        (row(0, "other"), r"data/.* lists the bucket other, and its manifest says raw"),
        (row(3, "perhaps"), r"row 1: 'perhaps' is neither true nor false"),
        (row(5, "big"), r"row 1: 'big' is no size in bytes"),
        (raw_key(b"faces/p/%FF.jpg"), r"row 1: the key faces/p/%FF\.jpg cannot be decoded"),
        (raw_key(b"faces/p/%1.jpg"), r"row 1: the key faces/p/%1\.jpg cannot be decoded"),
        (raw_key(b"x" * 70_000), r"row 1 has a key of more than"),
        (raw_key(b"other/1.jpg"), r"names nothing below s3://raw/faces"),
        (raw_key(b'a","b'), r"row 1 has 9 columns, and the manifest names 8"),
        (overwrite("2030-01-02T01-00Z/manifest.checksum", b"0" * 32), r"manifest\.json is damaged: its MD5"),
        (overwrite("data/2030-01-02T01-00Z-0.csv.gz", b"other"), r"Z-0\.csv\.gz is damaged: its MD5"),
        (lambda store, _: store.write_bytes("x", b""), r"no complete inventory .* lies in s3://lists/"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    put: Callable[[Store, dict[str, bytes]], None], told: str, contents: dict[str, bytes], lists: Store
) -> None:
    put(lists, contents)
    with pytest.raises(DataError, match=told):
        list(entries_of_inventory(lists.url(TOP), SOURCE))


def test_a_manifest_that_is_not_there_is_named(lists: Store) -> None:
    lists.write_bytes("x", b"")
    with pytest.raises(DataError, match=r"There is no s3://lists/a/manifest\.json.*above the dates"):
        list(entries_of_inventory("s3://lists/a/manifest.json", SOURCE))


@pytest.mark.parametrize(("source", "inventory"), [(None, "s3://b/i"), ("folder", "s3://b/i"), (SOURCE, "folder")])
def test_an_inventory_is_of_a_source_in_s3(source: str | None, inventory: str) -> None:
    with pytest.raises(ConfigError, match=r"give both as s3:// addresses"):
        check_data(DataConfig(source=source, inventory=inventory))


def test_the_object_of_a_consoles_folder_is_no_file() -> None:
    """`faces/` itself has an empty name below `s3://raw/faces`."""
    assert not is_listed("")
    assert is_listed("p00/1.jpg")
