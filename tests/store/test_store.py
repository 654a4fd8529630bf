"""What both kinds of store promise; S3 through a real server."""

from __future__ import annotations

import hashlib
import io
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from oaml_core.errors import StoreError
from oaml_core.store import MissingObject, Store, open_store, split_uri
from oaml_core.store.s3_client import connect

CONTENT = bytes(range(256)) * 5000


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    for name in ("manifest.json", "train/0.rec", "train/deep/er.rec", "a b/ü.bin"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 100)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_put_comes_back(store: Store, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "new folder" / "target"
    source.write_bytes(CONTENT)
    info = store.put_file(source, "models/best.ckpt")
    store.get_file("models/best.ckpt", target)
    assert target.read_bytes() == CONTENT
    assert (info.size, info.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert store.stat("models/best.ckpt") == info
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_empty_and_overwritten_objects(store: Store) -> None:
    store.write_bytes("pointer", b"")
    assert store.read_bytes("pointer") == b""
    store.write_bytes("pointer", b"new")
    assert store.read_bytes("pointer") == b"new"


def test_a_part_of_an_object_is_read_alone(store: Store) -> None:
    store.write_bytes("letters", b"abcdefghij")
    assert store.read_range("letters", 2, 3) == b"cde"
    assert store.read_range("letters", 8, 100) == b"ij"
    with pytest.raises(MissingObject, match="nothing"):
        store.read_range("nothing", 0, 1)


def test_several_parts(store: Store, tmp_path: Path) -> None:
    source, target = tmp_path / "big", tmp_path / "back"
    source.write_bytes(CONTENT * 30)
    store.put_file(source, "big")
    store.get_file("big", target)
    assert target.read_bytes() == source.read_bytes()


def test_trees_come_back(store: Store, tree: Path, tmp_path: Path) -> None:
    store.put_tree(tree, "datasets/1")
    store.get_tree("datasets/1", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(tree)


def test_the_manifest_goes_last_both_ways(
    store: Store, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    put, get = store._put, store._get
    monkeypatch.setattr(store, "_put", lambda path, key, *rest: (order.append(key), put(path, key, *rest)))
    monkeypatch.setattr(store, "_get", lambda key, *rest: (order.append(key), get(key, *rest)))
    store.put_tree(tree, "d")
    assert (len(order), order[-1]) == (4, "d/manifest.json")
    store.get_tree("d", tmp_path / "back")
    assert (len(order), order[-1]) == (8, "d/manifest.json")


def test_a_tree_that_cannot_be_fetched_has_no_manifest(store: Store, root: Path, tree: Path, tmp_path: Path) -> None:
    store.put_tree(tree, "d")
    flip_a_bit(root / "d" / "train" / "0.rec")
    with pytest.raises(StoreError, match="damaged"):
        store.get_tree("d", tmp_path / "back")
    assert not (tmp_path / "back" / "manifest.json").exists()


def test_what_is_there_is_not_sent_again(store: Store, root: Path, tree: Path, tmp_path: Path) -> None:
    store.put_tree(tree, "d")
    before = {p: p.stat().st_mtime_ns for p in root.glob("d/**/*.rec")}
    store.put_tree(tree, "d")
    assert {p: p.stat().st_mtime_ns for p in root.glob("d/**/*.rec")} == before
    back = tmp_path / "back"
    store.get_tree("d", back)
    fetched = {p: p.stat().st_ino for p in back.rglob("*") if p.is_file()}
    (back / "train" / "0.rec").write_bytes(b"half")
    store.get_tree("d", back)
    assert contents(back) == contents(tree)
    again = {p for p, inode in fetched.items() if p.stat().st_ino != inode}
    assert again == {back / "train" / "0.rec"}


def test_listing(store: Store) -> None:
    for key in ("run/step-2", "run/step-10", "run/other", "runner/x", "a"):
        store.write_bytes(key, key.encode())
    assert [info.key for info in store.list("run/step-")] == ["run/step-10", "run/step-2"]
    assert [info.key for info in store.list()] == ["a", "run/other", "run/step-10", "run/step-2", "runner/x"]
    assert [info.size for info in store.list("a")] == [1]
    assert list(store.list("nothing/")) == []


def test_deleting(store: Store) -> None:
    store.write_bytes("x/y", b"1")
    store.delete("x/y")
    store.delete("x/y")
    assert not store.exists("x/y")
    assert list(store.list()) == []


def test_missing_objects_are_named(store: Store, tmp_path: Path) -> None:
    assert not store.exists("no/such")
    with pytest.raises(MissingObject, match=r"There is no .*/no/such\."):
        store.stat("no/such")
    with pytest.raises(FileNotFoundError):
        store.get_file("no/such", tmp_path / "x")
    with pytest.raises(MissingObject, match="nothing below"):
        store.get_tree("no", tmp_path / "tree")
    assert not (tmp_path / "x").exists()


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_a_flipped_bit_is_noticed(store: Store, root: Path, tmp_path: Path) -> None:
    store.write_bytes("a/object", CONTENT)
    flip_a_bit(root / "a" / "object")
    target = tmp_path / "target"
    target.write_bytes(b"what was there before")
    with pytest.raises(StoreError, match=r"a/object is damaged.*Delete it"):
        store.get_file("a/object", target)
    assert target.read_bytes() == b"what was there before"
    assert not list(tmp_path.glob(".*"))
    store.delete("a/object")
    store.write_bytes("a/object", CONTENT)
    assert store.read_bytes("a/object") == CONTENT


def test_a_flipped_bit_is_noticed_through_any_address(store: Store, root: Path) -> None:
    store.write_bytes("a/object", CONTENT)
    flip_a_bit(root / "a" / "object")
    other, key = split_uri(store.url("a/object"))
    with pytest.raises(StoreError, match="damaged"):
        other.read_bytes(key)


def test_what_others_put_there_can_be_read(store: Store, kind: str, root: Path) -> None:
    store.write_bytes("mine", b"1")
    if kind == "folder":
        (root / "theirs").write_bytes(b"2")
    else:
        connect().put_object("oaml", f"{root.name}/theirs", io.BytesIO(b"2"), 1)
    assert store.read_bytes("theirs") == b"2"
    assert store.exists("theirs")


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd", "", "a/..", "x\0y", "a//b", "./a", "a/"])
def test_keys_stay_below_the_prefix(store: Store, tmp_path: Path, key: str) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    for call in (
        lambda: store.put_file(source, key),
        lambda: store.get_file(key, tmp_path / "target"),
        lambda: store.delete(key),
        lambda: store.exists(key),
    ):
        with pytest.raises(StoreError, match="not a key"):
            call()


def test_listing_stays_below_the_prefix(store: Store) -> None:
    with pytest.raises(StoreError, match="not a key"):
        list(store.list("../"))


def test_addresses_lead_back(store: Store) -> None:
    store.write_bytes("datasets/1/manifest.json", b"{}")
    other, key = split_uri(store.url("datasets/1/manifest.json"))
    assert other.read_bytes(key) == b"{}"
    tree_store, prefix = split_uri(store.url("datasets/1"))
    assert [info.key for info in tree_store.list(f"{prefix}/")] == [f"{prefix}/manifest.json"]
    assert open_store(store.uri).read_bytes("datasets/1/manifest.json") == b"{}"


def test_links_open_without_credentials(store: Store, kind: str) -> None:
    store.write_bytes("runs/1/report.html", b"<p>fine</p>")
    with urllib.request.urlopen(store.link("runs/1/report.html", timedelta(minutes=5))) as answer:
        assert answer.read() == b"<p>fine</p>"
        assert answer.headers["Content-Type"] == "text/html"
    with pytest.raises(MissingObject):
        store.link("runs/2/report.html")
    if kind == "s3":
        with pytest.raises(StoreError, match="one second to 7 days"):
            store.link("runs/1/report.html", timedelta(days=8))


def test_objects_are_checked_where_they_lie(store: Store, root: Path) -> None:
    store.write_bytes("a/object", CONTENT)
    assert store.is_intact("a/object") is True
    flip_a_bit(root / "a" / "object")
    assert store.is_intact("a/object") is False
    with pytest.raises(MissingObject):
        store.is_intact("a/other")


def test_listings_tell_when_objects_were_put(store: Store) -> None:
    store.write_bytes("a", b"1")
    (info,) = store.list()
    assert info.modified is not None
    assert abs(datetime.now(UTC) - info.modified) < timedelta(minutes=1)


def test_a_missing_source_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        store.put_file(tmp_path / "nowhere", "x")
    assert not store.exists("x")


def test_a_full_disk_leaves_nothing(store: Store, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    store.write_bytes("x", CONTENT)
    target = tmp_path / "target"
    with pytest.MonkeyPatch.context() as patch:
        real_open = Path.open

        def full(path: Path, mode: str = "r", *arguments: object, **options: object) -> object:
            return real_open(Path("/dev/full") if "w" in mode else path, mode, *arguments, **options)  # type: ignore[call-overload]

        patch.setattr(Path, "open", full)
        with pytest.raises(StoreError, match=r"No space left.*Free some space"):
            store.get_file("x", target)
    assert not target.exists()


def test_other_addresses_are_refused() -> None:
    with pytest.raises(StoreError, match="s3://bucket/prefix"):
        open_store("gs://bucket/x")


@pytest.mark.parametrize("read", [open_store, split_uri])
def test_a_server_in_place_of_a_folder_is_refused(read: Callable[[str], object]) -> None:
    """Two slashes were taken for a folder below the working one."""
    with pytest.raises(StoreError, match=r"names the server shelf.*three slashes"):
        read("file://shelf/faces/a.json")
