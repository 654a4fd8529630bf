"""Locks end with their block, though processes that were forked in it go on."""

from __future__ import annotations

import ast
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oaml_core
from oaml_core.data.batches.shared_arrays import SharedArrays
from oaml_core.file_lock import hold_alone, locked
from oaml_core.store import open_store
from oaml_core.store.cache import LocalCache
from oaml_core.store.local_file import only_one
from oaml_core.store.partial_file import partial_file

PACKAGE = Path(oaml_core.__file__).parent


class Forks:
    """Processes that do nothing, each forked as one that decodes images is: by a thread that knows of no lock."""

    def __init__(self) -> None:
        self.children: list[int] = []

    def one(self, *_: Any, **__: Any) -> None:
        child = os.fork()
        if not child:
            signal.pause()
        self.children.append(child)

    def end(self) -> None:
        for child in self.children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


@pytest.fixture
def forks() -> Iterator[Forks]:
    forks = Forks()
    yield forks
    forks.end()


def ends(work: Callable[[], Any]) -> bool:
    """Return True if `work` has ended soon, and not waited for a process that goes on."""
    done = threading.Event()

    def run() -> None:
        work()
        done.set()

    threading.Thread(target=run, daemon=True).start()
    return done.wait(10)


def enter(block: AbstractContextManager[Any]) -> None:
    with block:
        pass


def test_a_lock_keeps_others_out_for_its_block(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("a") as one, (tmp_path / "lock").open("a") as other:
        with locked(one):
            assert not hold_alone(other)
            with pytest.raises(BlockingIOError), locked(other, wait=False):
                pass
        assert hold_alone(other)


def test_a_lock_ends_by_an_error_too(tmp_path: Path, forks: Forks) -> None:
    with (tmp_path / "lock").open("a") as one, (tmp_path / "lock").open("a") as other:
        with pytest.raises(KeyError), locked(one):  # noqa: PT012
            forks.one()
            raise KeyError
        assert hold_alone(other)


def test_only_one_at_a_time_and_then_the_next(tmp_path: Path, forks: Forks) -> None:
    with only_one(tmp_path / "lock"):
        forks.one()
    assert ends(lambda: enter(only_one(tmp_path / "lock")))


def test_an_object_is_written_again(tmp_path: Path, forks: Forks, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(tmp_path))

    @contextmanager
    def and_fork(lock: Path) -> Iterator[None]:
        with only_one(lock):
            forks.one()
            yield

    with monkeypatch.context() as patch:
        patch.setattr("oaml_core.store.folder.only_one", and_fork)
        store.write_bytes("runs/a/latest", b"first")
    assert forks.children
    assert ends(lambda: store.write_bytes("runs/a/latest", b"second"))
    assert store.read_bytes("runs/a/latest") == b"second"


def test_a_shared_array_is_taken_again(tmp_path: Path, forks: Forks) -> None:
    def make() -> np.ndarray[Any, np.dtype[np.int64]]:
        forks.one()
        return np.arange(3)

    SharedArrays(tmp_path).get("plan", "0", make)
    assert ends(lambda: SharedArrays(tmp_path).get("plan", "1", lambda: np.arange(4)))


def test_an_entry_of_the_cache_goes_and_comes_again(
    tmp_path: Path, forks: Forks, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = LocalCache(tmp_path, None)
    monkeypatch.setattr("oaml_core.store.cache._in_use", {})
    cache.use("a", forks.one)
    assert ends(lambda: cache.use("a", str))
    (tmp_path / "b").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("oaml_core.store.cache.shutil.rmtree", forks.one)
        assert cache.remove("b")
    assert ends(lambda: cache.use("b", str))


def test_a_file_that_failed_below_a_fork_goes_on_with_its_parts(tmp_path: Path, forks: Forks) -> None:
    with pytest.raises(KeyError), partial_file(tmp_path / "part.rec", "digest") as first:  # noqa: PT012
        first.mark(3)
        forks.one()
        raise KeyError
    with partial_file(tmp_path / "part.rec", "digest") as second:
        assert second.done == {3}


def uses_flock(path: Path) -> bool:
    tree = ast.parse(path.read_text())
    return any(
        (isinstance(node, ast.Import) and any(name.name == "fcntl" for name in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module == "fcntl")
        for node in ast.walk(tree)
    )  # fmt: skip


def test_files_are_locked_in_one_place() -> None:
    assert [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if uses_flock(path)] == [
        "file_lock.py"
    ]
