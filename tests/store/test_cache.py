"""The cache of a node: one fetch for all processes, nothing evicted that is in use."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from oaml_core.store import cache as cache_module
from oaml_core.store import open_store
from oaml_core.store.cache import LocalCache, cached_file


@pytest.fixture(autouse=True)
def nothing_in_use() -> Iterator[None]:
    cache_module._in_use.clear()
    yield
    cache_module._in_use.clear()


def fill_with(size: int, log: Path | None = None):  # type: ignore[no-untyped-def]
    def fill(folder: Path) -> None:
        if (folder / "content").exists():
            return
        if log is not None:
            with log.open("a") as file:
                file.write("filled\n")
        (folder / "content").write_bytes(bytes(size))

    return fill


def use_and_tell(folder: Path, log: Path, ready, done) -> None:  # type: ignore[no-untyped-def]
    LocalCache(folder, 10).use("shared", fill_with(100, log))
    ready.release()
    done.acquire()


def test_processes_fill_an_entry_once_and_nobody_evicts_it_while_they_live(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    ready, done = fork.Semaphore(0), fork.Semaphore(0)
    arguments = tmp_path / "cache", tmp_path / "log", ready, done
    workers = [fork.Process(target=use_and_tell, args=arguments) for _ in range(3)]
    for worker in workers:
        worker.start()
    for _ in workers:
        assert ready.acquire(timeout=60)
    assert (tmp_path / "log").read_text() == "filled\n"
    cache = LocalCache(tmp_path / "cache", 10)
    assert cache.evict() == []
    for _ in workers:
        done.release()
    for worker in workers:
        worker.join()
    assert cache.evict() == ["shared"]
    assert not (tmp_path / "cache" / "shared").exists()


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = LocalCache(tmp_path, None)
    for age, name in enumerate(["new", "middle", "old"]):
        cache.use(name, fill_with(100))
        os.utime(tmp_path / ".locks" / name, (0, 1_000 - age))
    cache_module._in_use.clear()
    assert cache.evict() == []
    assert LocalCache(tmp_path, 250).evict() == ["old"]
    cache.use("middle", fill_with(100))
    cache_module._in_use.clear()
    assert LocalCache(tmp_path, 150).evict() == ["new"]


def test_a_file_is_fetched_once_and_again_if_it_was_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(tmp_path / "store"))
    store.write_bytes("runs/a/best.ckpt", b"weights")
    uri = f"{store.uri}/runs/a/best.ckpt"
    cache = LocalCache(tmp_path / "cache", None)
    path = cached_file(uri, cache)
    assert path.read_bytes() == b"weights"
    stamp = path.stat().st_mtime_ns
    assert cached_file(uri, cache).stat().st_mtime_ns == stamp
    path.write_bytes(b"weightz")
    assert cached_file(uri, cache).read_bytes() == b"weights"
    assert cached_file("here.ckpt", cache) == Path("here.ckpt")


def test_room_is_made_for_what_is_still_to_come(tmp_path: Path) -> None:
    cache = LocalCache(tmp_path, 100)
    for age, name in enumerate(("old", "older", "newest")):
        cache.use(name, fill_with(20))
        os.utime(tmp_path / ".locks" / name, (1_000 - age, 1_000 - age) if name != "newest" else None)
    cache_module._in_use.clear()
    assert cache.evict(room=40) == []
    assert cache.evict(room=45) == ["older"]
    cache.use("newest", fill_with(20))
    assert cache.evict(room=1_000) == ["old"], "what is in use stays"
