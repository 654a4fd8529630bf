"""Files of this machine that a store reads and writes."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from oaml_core.errors import StoreError
from oaml_core.file_lock import locked
from oaml_core.folder_entries import NoRegularFile, kind_of, open_regular, shown
from oaml_core.held_folder import held_folder
from oaml_core.remedies import REMEDIES
from oaml_core.whole_file import written_whole

MOST_TRIES = 1000
"""Times that a lock may be removed, with its empty folder, before it is held."""
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
"""Names of files that have not appeared yet, as `written_whole` gives them."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a regular file's content, hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_of(path: Path) -> int:
    """Return the size of a file in bytes.

    Raises:
        StoreError: it is not there, is no regular file, or may not be read.
    """
    try:
        with open_regular(path) as file:
            return os.fstat(file.fileno()).st_size
    except OSError as error:
        raise unusable_file(path, error) from None


@contextmanager
def appearing(path: Path, rename: Callable[[Path, Path], object] = Path.replace) -> Iterator[Path]:
    """A new file beside `path` to write to, which becomes `path` when the block ends well, and else goes.

    Args:
        path: the file that appears.
        rename: gives the new file, whose content is on the disk, the name `path`.

    Raises:
        StoreError: the folder cannot be written, or the disk is full.
    """

    def show(new: Path, path: Path) -> None:
        with new.open("rb") as file:
            os.fsync(file.fileno())
        rename(new, path)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path, show) as temporary:
            yield temporary
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise unusable_file(path, error) from error


@contextmanager
def spare_file() -> Iterator[Path]:
    """A file of this machine for the content of a small object.

    Raises:
        StoreError: the folder for temporary files takes none. Whoever bears a store that fails, as the keeper of a
            lease does, bears this as well.
    """
    try:
        with held_folder("oaml-object-") as folder:
            yield folder / "object"
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise unusable_file(Path("temporary files"), error) from error


def is_temporary(name: str) -> bool:
    """Return True if a file of this name is being written, or was by a process that was killed."""
    return TEMPORARY.fullmatch(name) is not None


def unusable_file(path: Path, error: OSError) -> StoreError:
    """Return the error for a file that this machine cannot write or read."""
    remedy = REMEDIES.get(error.errno or 0, "Check that it exists and that you may use it.")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "Free some space, or use another disk."
    elif isinstance(error, NoRegularFile):
        remedy = "Name a file, or a folder of files."
    return StoreError(f"{shown(os.fsdecode(error.filename or path))}: {error.strerror or error}. {remedy}")


@contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Let one process of this machine at a time in, others wait; the lock of a process that dies is gone with it."""
    for _ in range(MOST_TRIES):
        lock.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opened:
            try:
                held = opened.enter_context(_opened_lock(lock))
            except FileNotFoundError:  # its folder was empty, and was removed meanwhile
                continue
            opened.enter_context(locked(held))
            if _is_at(held, lock):
                yield
                return
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(lock))


@contextmanager
def _opened_lock(lock: Path) -> Iterator[int]:
    """Open the file of a lock, made where it is absent, and never wait for another program."""
    try:
        descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        raise NoRegularFile(None, "it is a FIFO, no regular file", str(lock)) from None
    try:
        if not stat.S_ISREG(mode := os.fstat(descriptor).st_mode):
            raise NoRegularFile(None, f"it is a {kind_of(mode)}, no regular file", str(lock))
        yield descriptor
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
