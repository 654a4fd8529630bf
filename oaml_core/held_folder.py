"""Folders for temporary files whose names tell who made them, so that those of killed processes can be removed.

The name is there from the moment that the folder is. A file in it that told would be missing where the process is
killed before it is written, where the disk is full, and where removing the folder is cut off.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import shutil
import tempfile
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from oaml_core.processes import has_ended, process_identity

BEGINNING = "oaml-"
"""Beginning of the names of all such folders."""
PARTS = (3, 3, 5)
"""Bytes of a mark: of the SHA-256 of where process numbers count, of the process number, of its time of start."""
_numbers = itertools.count()
"""Numbers of this process' folders. None comes twice: who remembers a folder by its name would take another for it."""
MARKED = re.compile(r"oaml-[a-z]+-([\w-]{15})-\d+", re.ASCII)
"""Names of such folders: the kind, the mark in base64, and a number."""


@contextmanager
def held_folder(prefix: str) -> Iterator[Path]:
    """Make a folder that is removed with the block; those that killed processes left go as well.

    Args:
        prefix: beginning of the names of a kind of folders: `oaml-`, a word of small letters, `-`.
    """
    remove_left()
    folder = _made(prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_left() -> None:
    """Remove the folders whose process has ended on this machine, once in a process: small objects are read often."""
    _remove_left(tempfile.gettempdir())


@cache
def _remove_left(place: str) -> None:
    for folder in Path(place).glob(f"{BEGINNING}*"):
        marked = MARKED.fullmatch(folder.name)
        if marked is None or not _has_ended(marked[1]) or folder.is_symlink() or not folder.is_dir():
            continue  # what is no folder is not ours: `rmtree` would wait for the writer of a FIFO
        shutil.rmtree(folder, ignore_errors=True)  # another user's stays


def _made(prefix: str) -> Path:
    """Make a folder; where processes cannot be told from one another, its name tells nothing."""
    mark = _own_mark()
    if not mark:
        return Path(tempfile.mkdtemp(prefix=prefix))
    for number in _numbers:
        folder = Path(tempfile.gettempdir(), f"{prefix}{mark}-{number}")
        with suppress(FileExistsError):
            folder.mkdir(0o700)
            break
    return folder


def _own_mark() -> str:
    """Return this process' identity in 15 characters: sockets lie in such folders, and their paths must be short."""
    place, _, rest = process_identity().partition("/")
    if not rest:
        return ""
    numbers = (int(number).to_bytes(size, "big") for number, size in zip(rest.split("/"), PARTS[1:], strict=True))
    return urlsafe_b64encode(b"".join((_digest(place), *numbers))).decode().rstrip("=")


def _has_ended(mark: str) -> bool:
    """Return True if a mark is of a process of this machine that runs no more."""
    place = process_identity().partition("/")[0]
    packed = urlsafe_b64decode(f"{mark}=")
    number, started = (int.from_bytes(part, "big") for part in (packed[PARTS[0] : -PARTS[2]], packed[-PARTS[2] :]))
    return packed[: PARTS[0]] == _digest(place) and has_ended(f"{place}/{number}/{started}")


def _digest(place: str) -> bytes:
    return hashlib.sha256(place.encode()).digest()[: PARTS[0]]
