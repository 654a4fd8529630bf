"""A large file that arrives in parts: it appears by rename when all are there; those that are, outlive the process."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from oaml_core.errors import StoreError
from oaml_core.file_lock import locked
from oaml_core.store.local_file import appearing, unusable_file

MOST_DIGITS = 12
"""Most digits of the number of a part."""


class PartialFile:
    """The file under its temporary name, and which parts it has. Parts may be written by several threads.

    Attributes:
        done: numbers of the parts that are there.
    """

    def __init__(self, path: Path, journal: Path) -> None:
        self.path = path
        self.done = _numbers(journal)
        self._journal = journal
        self._lock = threading.Lock()

    def open_at(self, offset: int) -> BinaryIO:
        """Return the file, for writing from `offset` bytes on."""
        file = self.path.open("r+b", buffering=0)
        file.seek(offset)
        return file

    def mark(self, number: int) -> None:
        """Remember that part `number` is there."""
        with self._lock, self._journal.open("a") as file:
            file.write(f"{number}\n")
            self.done.add(number)

    def forget(self) -> None:
        """Drop all parts, because they do not belong to the object that is fetched now."""
        self._journal.unlink(missing_ok=True)
        self.done.clear()


@contextmanager
def partial_file(path: Path, identity: str) -> Iterator[PartialFile]:
    """A file to fill, which becomes `path` when the block ends well, and is gone on with when it does not.

    Args:
        identity: of the content, such as its SHA-256; parts of another content are thrown away.

    Raises:
        StoreError: the folder cannot be written, or the disk is full.
    """
    mark = hashlib.sha256(identity.encode()).hexdigest()[:16]
    unfinished = path.with_name(f".{path.name}.{mark}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _forget_others(path, unfinished)
        with unfinished.open("a") as held, ExitStack() as lock:
            if not _is_ours(lock, held.fileno(), unfinished):  # somebody else fetches the same: do it beside them
                with appearing(path) as own, _journal(own) as journal:
                    own.touch()
                    yield PartialFile(own, journal)
                return
            journal = unfinished.with_suffix(".done")
            try:
                yield PartialFile(unfinished, journal)
                os.fsync(held.fileno())
                unfinished.replace(path)
                journal.unlink(missing_ok=True)
            finally:
                if not journal.exists():  # nothing to go on with
                    unfinished.unlink(missing_ok=True)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise unusable_file(path, error) from error


@contextmanager
def _journal(path: Path) -> Iterator[Path]:
    journal = path.with_suffix(".done")
    try:
        yield journal
    finally:
        journal.unlink(missing_ok=True)


def _forget_others(path: Path, but: Path) -> None:
    for other in path.parent.glob(f".{_literal(path.name)}.*.part"):
        if other != but:
            other.unlink(missing_ok=True)
            other.with_suffix(".done").unlink(missing_ok=True)


def _literal(name: str) -> str:
    """`name` as a pattern that matches itself alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _numbers(journal: Path) -> set[int]:
    try:
        text = journal.read_text(errors="replace")
    except FileNotFoundError:
        return set()
    whole = [line for line in text.split("\n")[:-1] if line.isascii() and line.isdigit() and len(line) < MOST_DIGITS]
    return set(map(int, whole))  # a line of something else names no part, which is then fetched again


def _is_ours(lock: ExitStack, descriptor: int, path: Path) -> bool:
    """Lock the open file until `lock` ends; False if another process has it, or has just renamed it."""
    try:
        lock.enter_context(locked(descriptor, wait=False))
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    except OSError:
        return False
