"""Writers and readers of one key of a folder: one whole object is seen at any time, whoever is killed."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from oaml_core.errors import StoreError
from oaml_core.store import MissingObject, open_store
from oaml_core.store.local_file import unusable_file

SPAWN = multiprocessing.get_context("forkserver")
KEY = "models/production.json"


def content(writer: int, number: int) -> bytes:
    """An object that tells who wrote it, of a length of its own."""
    return f"{writer}:{number}:".encode() * (1 + (writer * 7 + number) % 400)


def write_on_and_on(folder: Path, writer: int, times: int) -> None:
    store = open_store(str(folder))
    for number in range(times):
        store.write_bytes(KEY, content(writer, number))


def read_on_and_on(folder: Path, times: int) -> None:
    store = open_store(str(folder))
    for _ in range(times):
        found = store.read_bytes(KEY)
        writer, number = map(int, found.split(b":")[:2])
        assert found == content(writer, number)
        assert store.is_intact(KEY) is True
        assert store.stat(KEY).sha256


def delete_and_write(folder: Path, times: int) -> None:
    store = open_store(str(folder))
    for number in range(times):
        store.delete(KEY)
        store.write_bytes(KEY, content(9, number))


def started(target: Callable[..., None], *arguments: object) -> BaseProcess:
    process = SPAWN.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def test_many_writers_of_one_key_leave_a_whole_object_at_any_time(tmp_path: Path) -> None:
    open_store(str(tmp_path)).write_bytes(KEY, content(0, 0))
    running = [started(write_on_and_on, tmp_path, writer, 60) for writer in (1, 2, 3)]
    running += [started(read_on_and_on, tmp_path, 60) for _ in range(2)]
    for process in running:
        process.join(120)
    assert [process.exitcode for process in running] == [0] * 5
    read_on_and_on(tmp_path, 1)


def test_deleting_beside_writing_leaves_a_whole_object(tmp_path: Path) -> None:
    running = [started(write_on_and_on, tmp_path, 1, 60), started(delete_and_write, tmp_path, 60)]
    for process in running:
        process.join(120)
    assert [process.exitcode for process in running] == [0, 0]
    read_on_and_on(tmp_path, 1)


def test_writers_killed_at_any_moment_leave_a_whole_object(tmp_path: Path) -> None:
    moments = random.Random(0)
    store = open_store(str(tmp_path))
    store.write_bytes(KEY, content(0, 0))
    for _ in range(20):
        running = [started(write_on_and_on, tmp_path, writer, 10_000) for writer in (1, 2)]
        time.sleep(moments.uniform(0.05, 0.2))
        for process in running:
            process.kill()
            process.join()
        read_on_and_on(tmp_path, 1)
    store.write_bytes(KEY, b"the last")
    assert (store.read_bytes(KEY), store.is_intact(KEY)) == (b"the last", True)


def read_whole(folder: Path, times: int) -> None:
    for _ in range(times):
        try:
            found = open_store(str(folder)).read_bytes(KEY)
        except MissingObject:
            continue
        assert found == content(*map(int, found.split(b":")[:2]))


def test_replacing_what_others_put_there_shows_the_old_or_the_new(tmp_path: Path) -> None:
    store, path = open_store(str(tmp_path)), tmp_path / KEY
    path.parent.mkdir()
    reader = started(read_whole, tmp_path, 400)
    for number in range(60):
        store.delete(KEY)
        path.with_name("foreign").write_bytes(content(5, number))
        path.with_name("foreign").replace(path)
        assert store.is_intact(KEY) is None
        store.write_bytes(KEY, content(1, number))
    reader.join(60)
    assert reader.exitcode == 0


def test_damage_is_still_damage(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for number in range(2):
        store.write_bytes(KEY, content(1, number))
    (tmp_path / KEY).write_bytes(content(1, 0))  # the one before, as a restored backup has it
    with pytest.raises(StoreError, match="damaged"):
        store.read_bytes(KEY)
    assert store.is_intact(KEY) is False


@pytest.mark.parametrize("key", ["a" * 300, "/".join(["abcdefgh"] * 200), "ä" * 130])
def test_keys_that_no_file_system_takes_are_refused_by_name(tmp_path: Path, key: str) -> None:
    store = open_store(str(tmp_path))
    for use in (lambda: store.write_bytes(key, b"1"), lambda: store.read_bytes(key), lambda: store.exists(key)):
        with pytest.raises(StoreError, match="too long"):
            use()


def test_entries_that_others_made_of_a_store_s_own_files_are_named(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write_bytes("a/b", b"content")
    note, lock = tmp_path / "a" / ".sha256" / "b", tmp_path / "a" / ".sha256" / ".lock"
    for path, use in ((note, store.read_bytes), (lock, lambda key: store.write_bytes(key, b"other"))):
        kept = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(StoreError, match=f"{path.name}: it is a FIFO, no regular file"):
            use("a/b")
        path.unlink()
        path.write_bytes(kept)
    with note.open("r+b") as file:
        file.truncate(1 << 32)
    with pytest.raises(StoreError, match="b: it has 4,294,967,296 bytes, at most 4,096 are read"):
        store.read_bytes("a/b")


@pytest.mark.parametrize("where", ["the object", "a folder on the way", "its digest"])
def test_links_out_of_a_store_are_neither_read_nor_written_through(where: str, tmp_path: Path) -> None:
    store, outside = open_store(str(tmp_path / "store")), tmp_path / "outside"
    outside.mkdir()
    (outside / "a.json").write_bytes(b"not the store's")
    store.write_bytes("runs/1/b.json", b"{}")
    folder, key = tmp_path / "store" / "runs", "runs/1/a.json"
    if where == "the object":
        (folder / "1" / "a.json").symlink_to(outside / "a.json")
    elif where == "a folder on the way":
        key = "runs/2/a.json"
        (folder / "2").symlink_to(outside)
    else:
        store.write_bytes(key, b"{}")
        (folder / "1" / ".sha256" / "a.json").unlink()
        (folder / "1" / ".sha256" / "a.json").symlink_to(outside / "a.json")
    for use in (store.read_bytes, store.stat, lambda key: store.write_bytes(key, b"x"), store.delete):
        with pytest.raises(StoreError, match=r"leads out of the store\. Put the files themselves there"):
            use(key)
    assert (outside / "a.json").read_bytes() == b"not the store's"
    assert [info.key for info in store.list("runs/")] == ["runs/1/a.json"] * (where == "its digest") + ["runs/1/b.json"]


def test_links_within_a_store_and_a_store_that_is_a_link_are_used(tmp_path: Path) -> None:
    open_store(str(tmp_path / "elsewhere")).write_bytes("runs/1/a.json", b"{}")
    (tmp_path / "store").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "store" / "runs" / "newest").symlink_to("1")
    store = open_store(str(tmp_path / "store"))
    assert store.read_bytes("runs/newest/a.json") == b"{}"
    store.write_bytes("runs/newest/b.json", b"[]")
    assert store.read_bytes("runs/1/b.json") == b"[]"


@pytest.mark.parametrize(("number", "remedy"), [(errno.EFBIG, "raise the limit"), (errno.EROFS, "read-only disk")])
def test_what_is_wrong_with_a_local_file_has_its_own_remedy(number: int, remedy: str) -> None:
    told = str(unusable_file(Path("model.onnx"), OSError(number, os.strerror(number))))
    assert told.startswith(f"model.onnx: {os.strerror(number)}. ")
    assert remedy in told
