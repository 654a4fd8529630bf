"""Requests and bytes of stores, counted over all processes of a piece of work.

Each process counts in a small file of its own, mapped into its memory. A count therefore outlives a process that is
killed, and no two processes share one. Outside of `metered` nothing is counted.
"""

from __future__ import annotations

import mmap
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from oaml_core.held_folder import held_folder
from oaml_core.reserved_file import reserve

FOLDER = "OAML_TRAFFIC_FOLDER"
"""Environment variable with the folder of the counts: processes inherit it from the one that meters."""
BYTES = 3 * 8
"""Size of a process' counts."""


@dataclass(frozen=True)
class Traffic:
    """Amount of traffic between this work and its stores."""

    requests: int = 0
    """HTTP requests to S3, tries included; operations of a store in a folder."""
    bytes_read: int = 0
    """Bytes of content and listings that came."""
    bytes_written: int = 0
    """Bytes that were sent."""


class _Counts:
    """Counts of this process, in a new file of `folder`."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        path = Path(folder) / f"{os.getpid()}-{secrets.token_hex(4)}"
        reserve(path, BYTES)
        with path.open("r+b") as file:
            self._fields = memoryview(mmap.mmap(file.fileno(), BYTES)).cast("q")

    def add(self, *amounts: int) -> None:
        for field, each in enumerate(amounts):
            self._fields[field] += each


class _Own:
    """Counts and lock of this process; a forked child begins with new ones."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counts: _Counts | None = None


_own = _Own()
os.register_at_fork(after_in_child=lambda: _own.__init__())  # type: ignore[misc]


def count_traffic(requests: int = 0, read: int = 0, written: int = 0) -> None:
    """Add to the counts of this process.

    Args:
        requests: number of requests, or of operations of a folder.
        read, written: bytes.
    """
    folder = os.environ.get(FOLDER)
    if not folder:
        return
    with _own.lock:
        if _own.counts is None or _own.counts.folder != folder:
            try:
                _own.counts = _Counts(folder)
            except OSError:  # the work has ended, and its folder with it; or the disk is full
                return
        _own.counts.add(requests, read, written)


@contextmanager
def metered() -> Iterator[Callable[[], Traffic]]:
    """Count the traffic of the block, and of all processes that it starts; the function given says how much so far.

    Work that is metered within the block is counted there alone.
    """
    outer = os.environ.get(FOLDER)
    with held_folder("oaml-traffic-") as held:
        counts = held / "counts"
        counts.mkdir()
        os.environ[FOLDER] = str(counts)
        try:
            yield lambda: _total(counts)
        finally:
            if outer is None:
                os.environ.pop(FOLDER, None)  # another thread may have ended its own
            else:
                os.environ[FOLDER] = outer


def _total(folder: Path) -> Traffic:
    contents = (each.read_bytes() for each in folder.iterdir())
    counts = [memoryview(each).cast("q") for each in contents if len(each) == BYTES]  # not those just being made
    return Traffic(*(sum(fields) for fields in zip(*counts, strict=True)))
