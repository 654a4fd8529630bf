"""Where raw data lies: a local folder or an `s3://` prefix.

What a folder holds decides how it is read: `train.rec` (RecordIO), `train.csv` or `train.parquet` (a list of path
and identity), `train*.parquet` with images inside, `*.tar` (WebDataset), else one folder per identity, in `train/` or
at the top.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from oaml_core.data.sources.training_source import CORES as CORES
from oaml_core.data.sources.training_source import NOT_THERE
from oaml_core.data.sources.training_source import Ints as Ints
from oaml_core.data.sources.training_source import Landmarks as Landmarks
from oaml_core.data.sources.training_source import TrainingSource as TrainingSource
from oaml_core.errors import DataError
from oaml_core.folder_entries import (
    OF_SYSTEMS,
    UNPRINTABLE,
    FolderEntry,
    files_below,
    forges_lines,
    is_of_systems,
    open_regular,
    read_regular,
    shown,
)

if TYPE_CHECKING:
    from oaml_core.store import ObjectInfo, Store

T = TypeVar("T")

READERS = 16
"""Objects of a store that are read at a time: each waits for the network most of the time."""
OWN_INDEX = ".rec.index"
"""Ending of the index that OAML keeps beside a record file."""
LARGE = 64 << 20
"""Bytes above which a stored file is not read into memory."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """Name, size and stamp of one file of a source."""

    name: str
    """Relative to the source, with forward slashes."""
    size: int
    stamp: str
    """Time of the last change, or what a store's listing tells contents apart by; empty where neither is known."""


class SourceFolder(ABC):
    """A folder of raw data, on a disk or in a store."""

    readers = CORES
    """Files that are worth reading at a time."""

    def __init__(self, uri: str, files: Iterable[SourceFile], passed_over: Sequence[FolderEntry] = ()) -> None:
        self.uri = uri
        self.identity = uri
        """Tells this folder from all others on the machine."""
        self.is_remote = False
        """Whether its files lie in a store, so that each question about one is a request."""
        self.files = {file.name: file for file in sorted(files, key=lambda file: file.name)}
        self.passed_over = passed_over
        """Entries that no reader sees, each with its reason."""

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def listed(self, path: str) -> str:
        """Return the file that a list means: forward slashes, no `./`, accents as the file's name has them.

        A path that names no file is returned with forward slashes.
        """
        if path in self.files:
            return path
        plain = PurePosixPath(path.replace("\\", "/")).as_posix()
        spellings = (plain, *(unicodedata.normalize(form, plain) for form in ("NFC", "NFD")))
        return next((name for name in spellings if name in self.files), path.replace("\\", "/"))

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the bytes of one file; raises DataError if it cannot be read."""

    @abstractmethod
    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """Return up to `size` bytes of one file from `offset` on, fewer at its end; raises as `read` does."""

    @abstractmethod
    def local(self, name: str) -> Path:
        """Return the file on the local disk, fetched there if it lies elsewhere."""

    def fits(self, name: str) -> bool:
        """Return True if the local disk has the file, or room for it."""
        return True

    def sha256(self, name: str) -> str:
        """Checksum of a file's content."""
        with self.local(name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def where(self, name: str) -> str:
        """Return the file's full name, for messages."""
        return f"{self.uri.rstrip('/')}/{name}"


class LocalFolder(SourceFolder):
    """A folder on a disk.

    Args:
        folder: the folder.
        listing: its files, where they are known already.
    """

    def __init__(self, folder: Path, listing: Iterable[SourceFile] | None = None) -> None:
        if not folder.is_dir():
            raise DataError(
                f"data.source: {folder} is no folder. Give the folder that holds train.rec, train.csv or one "
                "folder per identity."
            )
        self.folder = folder
        used, passed_over = _apart(_entries_of_folder(folder) if listing is None else ())
        super().__init__(str(folder), used if listing is None else listing, passed_over)
        self.identity = str(folder.resolve())

    def read(self, name: str) -> bytes:
        try:
            return read_regular(self.folder / name)
        except OSError as error:
            raise self._unreadable(name, error) from None

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        try:
            with open_regular(self.folder / name) as file:
                return os.pread(file.fileno(), size, offset)
        except OSError as error:
            raise self._unreadable(name, error) from None

    def _unreadable(self, name: str, error: OSError) -> DataError:
        if isinstance(error, FileNotFoundError):
            return DataError(f"{shown(name)} {NOT_THERE}")
        return DataError(f"{shown(self.folder / name)} cannot be read: {error.strerror}.")

    def local(self, name: str) -> Path:
        return self.folder / name


class StoreFolder(SourceFolder):
    """A prefix in an object store. Single images are read from it one by one. A record file or a verification set is
    fetched whole into `scratch`; a record file that finds no room there is read record by record."""

    readers = READERS

    def __init__(self, store: Store, scratch: Path, listing: Iterable[SourceFile] | None = None) -> None:
        self.store = store
        self.scratch = scratch / hashlib.sha256(store.uri.encode()).hexdigest()[:16]
        self._fetched: set[Path] = set()
        objects, passed_over = _apart(map(_entry_of_store, store.list()) if listing is None else ())
        super().__init__(store.uri, objects if listing is None else listing, passed_over)
        self.is_remote = True

    def read(self, name: str) -> bytes:
        return self.store.read_bytes(name)

    def sha256(self, name: str) -> str:
        known = self.store.stat(name).sha256
        size = self.files[name].size
        if known or (size > LARGE and self.fits(name)):
            return known or super().sha256(name)
        digest = hashlib.sha256()
        for offset in range(0, size, LARGE):
            digest.update(self.read_range(name, offset, LARGE))
        return digest.hexdigest()

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        return self.store.read_range(name, offset, size)

    def fits(self, name: str) -> bool:
        self.scratch.mkdir(parents=True, exist_ok=True)
        path = self.scratch / name
        there = path.stat().st_size if path.is_file() else 0
        return self.files[name].size - there <= shutil.disk_usage(self.scratch).free

    def local(self, name: str) -> Path:
        path = self.scratch / name
        if path in self._fetched or self._still_right(name, path):
            return path
        self._fetch(name, path)
        self._fetched.add(path)
        return path

    def _still_right(self, name: str, path: Path) -> bool:
        """Return True if an earlier run fetched the same content that the store has now."""
        if not path.is_file() or path.stat().st_size != self.files[name].size:
            return False
        known = self.store.stat(name).sha256
        with path.open("rb") as file:
            return bool(known) and hashlib.file_digest(file, "sha256").hexdigest() == known

    def _fetch(self, name: str, path: Path) -> None:
        size = self.files[name].size
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if size > free:
            raise DataError(
                f"{self.where(name)} has {size / 1e9:.1f} GB, {path.parent} has room for {free / 1e9:.1f} GB: give "
                "a larger disk as work_dir."
            )
        self.store.get_file(name, path)


def _entries_of_folder(folder: Path) -> Iterator[SourceFile | FolderEntry]:
    """Yield files, and entries that no reader sees, of a folder on a disk."""
    for entry in files_below(folder, leave=True, empty=True):
        if entry.reason is not None:
            yield entry
        elif not any(step.endswith(OWN_INDEX) for step in entry.name.split("/")):
            yield SourceFile(entry.name, entry.size, str(entry.changed))


def _entry_of_store(info: ObjectInfo) -> SourceFile | FolderEntry:
    if is_of_systems(info.key):
        return FolderEntry(info.key, Path(info.key), reason=OF_SYSTEMS)
    if forges_lines(info.key):
        return FolderEntry(info.key, Path(info.key), reason=UNPRINTABLE)
    return SourceFile(info.key, info.size, info.tag)


def _apart(entries: Iterable[SourceFile | FolderEntry]) -> tuple[list[SourceFile], list[FolderEntry]]:
    files: list[SourceFile] = []
    passed_over: list[FolderEntry] = []
    for entry in entries:
        if isinstance(entry, SourceFile):
            files.append(entry)
        else:
            passed_over.append(entry)
    return files, passed_over


def over_files(source: str, take: Callable[[Iterable[SourceFile]], T]) -> T:
    """Return `take(files)` of the files of a source as they are listed, in any order; nothing of the listing is held.

    Args:
        source: folder or address.
        take: called again, from the beginning, where a fault of a store passes.

    Raises:
        StoreError: the source cannot be listed.
    """

    def files(entries: Iterable[SourceFile | FolderEntry]) -> Iterator[SourceFile]:
        return (entry for entry in entries if isinstance(entry, SourceFile))

    if "://" not in source:
        return take(files(_entries_of_folder(Path(source))))
    from oaml_core.store import open_store

    return open_store(source).over_list(lambda objects: take(files(map(_entry_of_store, objects))))


def open_folder(source: str, scratch: Path, listing: Iterable[SourceFile] | None = None) -> SourceFolder:
    """Return a local folder or an `s3://` prefix.

    Args:
        source: folder or address.
        scratch: local folder for what is fetched.
        listing: its files, where they are known already; None: they are listed now.

    Raises:
        DataError, StoreError: it cannot be read.
    """
    if "://" not in source:
        return LocalFolder(Path(source), listing)
    from oaml_core.store import open_store

    folder = StoreFolder(open_store(source), scratch, listing)
    if not folder.files:
        raise DataError(f"data.source: nothing lies under {source}. Check the bucket and the prefix.")
    return folder
