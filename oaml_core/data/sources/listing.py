"""Listing of a source: its files, and entries that no reader sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from oaml_core.folder_entries import OF_SYSTEMS, UNPRINTABLE, FolderEntry, files_below, forges_lines, is_of_systems

if TYPE_CHECKING:
    from oaml_core.store import ObjectInfo

T = TypeVar("T")
OWN_INDEX = ".rec.index"
"""Ending of the index that OAML keeps beside a record file."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """Name, size and stamp of one file of a source."""

    name: str
    """Relative to the source, with forward slashes."""
    size: int
    stamp: str
    """Time of the last change, or what a store's listing tells contents apart by; empty where neither is known."""


def entries_of_folder(folder: Path) -> Iterator[SourceFile | FolderEntry]:
    """Yield files, and entries that no reader sees, of a folder on a disk."""
    for entry in files_below(folder, leave=True, empty=True):
        if entry.reason is not None:
            yield entry
        elif not any(step.endswith(OWN_INDEX) for step in entry.name.split("/")):
            yield SourceFile(entry.name, entry.size, str(entry.changed))


def entry_of_store(info: ObjectInfo) -> SourceFile | FolderEntry:
    """Return an object of a store as a file, or as an entry that no reader sees."""
    return entry_of_object(info.key, info.size, info.tag)


def entry_of_object(key: str, size: int, tag: str) -> SourceFile | FolderEntry:
    """Return an object of a store, of `size` bytes, as `entry_of_store` does."""
    if is_of_systems(key):
        return FolderEntry(key, Path(key), reason=OF_SYSTEMS)
    if forges_lines(key):
        return FolderEntry(key, Path(key), reason=UNPRINTABLE)
    return SourceFile(key, size, tag)


def apart(entries: Iterable[SourceFile | FolderEntry]) -> tuple[list[SourceFile], list[FolderEntry]]:
    """Part files from entries that no reader sees."""
    files: list[SourceFile] = []
    passed_over: list[FolderEntry] = []
    for entry in entries:
        if isinstance(entry, SourceFile):
            files.append(entry)
        else:
            passed_over.append(entry)
    return files, passed_over


def files_among(entries: Iterable[SourceFile | FolderEntry]) -> Iterator[SourceFile]:
    """Yield the files alone."""
    return (entry for entry in entries if isinstance(entry, SourceFile))


def over_entries(source: str, take: Callable[[Iterable[SourceFile | FolderEntry]], T]) -> T:
    """Return `take(entries)` of a source as they are listed, in any order; nothing of the listing is held.

    Args:
        source: folder or address.
        take: called again, from the beginning, where a fault of a store passes.

    Raises:
        StoreError: the source cannot be listed.
    """
    if "://" not in source:
        return take(entries_of_folder(Path(source)))
    from oaml_core.store import open_store

    return open_store(source).over_list(lambda objects: take(map(entry_of_store, objects)))
