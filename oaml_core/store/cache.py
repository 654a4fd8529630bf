"""What was fetched from a store, kept on a node: filled once for all its processes, and evicted by size."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

from oaml_core.config import Config
from oaml_core.file_lock import hold_shared, locked
from oaml_core.store.local_file import only_one, sha256_of
from oaml_core.store.open import split_uri

LOCKS = ".locks"
FILES = "files"
_in_use: dict[Path, TextIOWrapper] = {}
"""Locks that this process holds until it ends, by entry."""


class LocalCache:
    """Entries, each a folder of its own below `folder`, that the processes of a node share.

    A process that uses an entry holds a shared lock on it until it ends, so that nobody evicts what is being read. Of
    those that no process uses, the ones used longest ago go first. Locks are the kernel's (flock): those of a process
    that dies are gone with it.

    Args:
        folder: on a disk of this node.
        limit: bytes that all entries together may take; None: as many as there are.
    """

    def __init__(self, folder: Path, limit: int | None) -> None:
        self.folder = folder.absolute()  # locks are held whatever the working directory becomes
        self.limit = limit

    def use(self, name: str, fill: Callable[[Path], object]) -> Path:
        """Return the folder of entry `name`.

        Args:
            fill: makes the folder complete, by rename of what it puts there, and does nothing where it is complete
                already; called by one process at a time, and what it raises goes on to the caller.
        """
        entry = self.folder / name
        lock = _in_use.get(entry) or self._lock(name)
        hold_shared(lock)
        _in_use[entry] = lock
        os.utime(lock.name)
        with only_one(self.folder / LOCKS / f"{name}.filling"):
            entry.mkdir(parents=True, exist_ok=True)
            fill(entry)
        self.evict()
        return entry

    def evict(self, room: int = 0) -> list[str]:
        """Remove what was used longest ago until the rest keeps the limit; names of what went.

        Args:
            room: bytes that are still to come, and are kept free within the limit.
        """
        if self.limit is None:
            return []
        entries = [path for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
        sizes = {path: bytes_below(path) for path in entries}
        removed = []
        for path in sorted(entries, key=self._last_used):
            if sum(sizes.values()) + room <= self.limit:
                break
            if self.remove(path.name):
                del sizes[path]
                removed.append(path.name)
        return removed

    def remove(self, name: str) -> bool:
        """Remove entry `name` unless a process uses it; return True if it is gone."""
        entry = self.folder / name
        if entry in _in_use:
            return False
        with suppress(BlockingIOError), self._lock(entry.name) as lock, locked(lock, wait=False):
            # By rename first, so that what is left of an entry is never taken for one.
            leaving = entry.with_name(f".{entry.name}.evicted")
            shutil.rmtree(leaving, ignore_errors=True)
            entry.replace(leaving)
            shutil.rmtree(leaving, ignore_errors=True)
            return True
        return False

    def _lock(self, name: str) -> TextIOWrapper:
        path = self.folder / LOCKS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a")

    def _last_used(self, entry: Path) -> float:
        lock = self.folder / LOCKS / entry.name
        return lock.stat().st_mtime if lock.exists() else entry.stat().st_mtime


def cache_bytes(config: Config) -> int | None:
    """Return the limit of the cache in bytes from `cache_gb`; None: no limit."""
    return None if config.cache_gb is None else round(config.cache_gb * 1e9)


def cached_file(uri: str, cache: LocalCache) -> Path:
    """Return the object at `uri`, by its SHA-256 in `cache`; a local path is given back as it is.

    Raises:
        StoreError: there is no such object, it is damaged, or the store cannot be reached.
    """
    if "://" not in uri:
        return Path(uri)
    store, key = split_uri(uri)
    digest = store.stat(key).sha256
    name = key.rpartition("/")[2]

    def fill(folder: Path) -> None:
        path = folder / name
        if not (path.is_file() and sha256_of(path) == digest):
            store.get_file(key, path)

    return cache.use(f"{FILES}-{digest}", fill) / name


def bytes_below(folder: Path) -> int:
    """Return the bytes of all files below a folder, whatever other processes do to it meanwhile."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # just renamed or removed
            size += path.stat().st_size if path.is_file() else 0
    return size
