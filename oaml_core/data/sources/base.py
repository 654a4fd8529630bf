"""Where raw data lies: a local folder or an `s3://` prefix.

What a folder holds decides how it is read: `train.rec` (RecordIO), `train.csv` or `train.parquet` (a list of path
and identity), `train*.parquet` with images inside, `*.tar` (WebDataset), else one folder per identity, in `train/` or
at the top.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from oaml_core.data.sources.listing import OWN_INDEX as OWN_INDEX
from oaml_core.data.sources.listing import SourceFile as SourceFile
from oaml_core.data.sources.listing import apart, entries_of_folder, entry_of_store
from oaml_core.data.sources.source_folder import SourceFolder as SourceFolder
from oaml_core.data.sources.training_source import CORES as CORES
from oaml_core.data.sources.training_source import Ints as Ints
from oaml_core.data.sources.training_source import Landmarks as Landmarks
from oaml_core.data.sources.training_source import TrainingSource as TrainingSource
from oaml_core.errors import DataError
from oaml_core.folder_entries import (
    ARCHIVES,
    FolderEntry,
    names_of_one,
    no_folder,
    open_regular,
    read_regular,
    shown,
)
from oaml_core.store.base import DamagedObject, MissingObject

if TYPE_CHECKING:
    from oaml_core.store import ObjectInfo, Store

READERS = 16
"""Objects of a store that are read at a time: each waits for the network most of the time."""
LIST_AGAIN = "Run the command again; where data.inventory lists the source, once the next inventory is written."
COPY_AGAIN = "Copy it there again."
LARGE = 64 << 20
"""Bytes above which a stored file is not read into memory."""
READ_AT_ONCE = 1 << 20
"""Bytes up to which a stored file is read for its SHA-256 without asking first whether the store tells it."""


class LocalFolder(SourceFolder):
    """A folder on a disk.

    Args:
        folder: the folder.
        listing: its files, where they are known already.
        key: setting or option that names it, for messages.
    """

    def __init__(
        self, folder: Path, listing: Iterable[SourceFile | FolderEntry] | None = None, *, key: str = "data.source"
    ) -> None:
        if not folder.is_dir():
            raise DataError(
                f"{key}: {no_folder(folder)}. Give the folder that holds train.rec, train.csv or one folder per "
                "identity."
            )
        self.folder = folder
        super().__init__(str(folder), *apart(entries_of_folder(folder) if listing is None else listing))
        self.identity = str(folder.resolve())

    def names_of_one(self, below: str) -> dict[str, str]:
        return names_of_one(self.folder / below)

    def read(self, name: str) -> bytes:
        with self.lost.reading(name), self._opened(name) as file:
            return file.read()

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        with self.lost.reading(name), self._opened(name) as file:
            return os.pread(file.fileno(), size, offset)

    @contextmanager
    def _opened(self, name: str) -> Iterator[io.BufferedReader]:
        """Open a file that is as it was listed; raises DataError, for faults within the block too."""
        try:
            with open_regular(self.folder / name) as file:
                self._compare(name, os.fstat(file.fileno()))
                yield file
        except FileNotFoundError:
            raise self.not_there(name) from None
        except OSError as error:
            raise DataError(f"{shown(self.folder / name)} cannot be read: {error.strerror}.") from None

    def _compare(self, name: str, now: os.stat_result) -> None:
        listed = self.files.get(name)
        if listed is None or not listed.stamp:
            return
        if (listed.size, listed.stamp) != (now.st_size, str(now.st_mtime_ns)):
            raise DataError(f"{shown(self.folder / name)} has changed since the source was listed. {LIST_AGAIN}")

    def local(self, name: str) -> Path:
        return self.folder / name

    def sha256(self, name: str) -> str:
        try:
            with self.lost.reading(name, hashing=True), self._opened(name) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except DataError:  # one image does not stop all others; a file that is needed is named by its reader
            return ""

    def look_again(self, name: str) -> None:
        with suppress(DataError), self.lost.reading(name), self._opened(name):
            pass


class StoreFolder(SourceFolder):
    """A prefix in an object store. Single images are read from it one by one. A record file or a verification set is
    fetched whole into `scratch`; a record file that finds no room there is read record by record."""

    readers = READERS

    def __init__(self, store: Store, scratch: Path, listing: Iterable[SourceFile | FolderEntry] | None = None) -> None:
        self.store = store
        self.scratch = scratch / hashlib.sha256(store.uri.encode()).hexdigest()[:16]
        self._fetched: set[Path] = set()
        super().__init__(store.uri, *apart(map(entry_of_store, store.list()) if listing is None else listing))
        self.is_remote = True

    def read(self, name: str) -> bytes:
        with self.lost.reading(name):
            try:
                data, found = self.store.read_object(name)
            except MissingObject:
                raise self.not_there(name) from None
            except DamagedObject as error:
                raise DataError(f"{error.what} {COPY_AGAIN}") from None
            self._compare(name, found)
            return data

    def _compare(self, name: str, found: ObjectInfo) -> None:
        """Raise DataError if a file is another one than was listed, as the answer of a request tells."""
        listed = self.files.get(name)
        if listed is None:
            return
        if found.size != listed.size or (listed.stamp and found.tag and found.tag != listed.stamp):
            raise DataError(f"{self.where(name)} has changed since the source was listed. {LIST_AGAIN}")

    def sha256(self, name: str) -> str:
        size = self.files[name].size
        try:
            found = self.store.read_object(name)[1] if size <= READ_AT_ONCE else self.store.stat(name)
        except MissingObject:
            raise DataError(f"{self.where(name)} is gone since the source was listed. {LIST_AGAIN}") from None
        except DamagedObject as error:
            self.lost.note(name, f"{error.what} {COPY_AGAIN}", hashing=True)
            return ""
        self._compare(name, found)
        if found.sha256:
            return found.sha256
        if size > LARGE and self.fits(name):
            with open_regular(self.local(name)) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        for offset in range(0, size, LARGE):
            digest.update(self.read_range(name, offset, LARGE))
        return digest.hexdigest()

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        return self.store.read_range(name, offset, size)

    def look_again(self, name: str) -> None:
        if not self.files[name].stamp:
            return
        with suppress(DataError), self.lost.reading(name):
            try:
                self._compare(name, self.store.stat(name))
            except MissingObject:
                raise self.not_there(name) from None

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
        if not known:
            return bool(self.files[name].stamp) and _note_of(path) == self.files[name].stamp
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == known

    def _fetch(self, name: str, path: Path) -> None:
        size = self.files[name].size
        for old in (path, _note(path)):
            old.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if size > free:
            raise DataError(
                f"{self.where(name)} has {size / 1e9:.1f} GB, {path.parent} has room for {free / 1e9:.1f} GB: give "
                "a larger disk as work_dir."
            )
        self._compare(name, self.store.get_file(name, path))
        with suppress(OSError):  # without it the file is fetched again
            _note(path).write_text(self.files[name].stamp)


def _note(path: Path) -> Path:
    """Return the file beside a fetched one that says by which stamp it was listed then."""
    return path.with_name(f".{path.name}.stamp")


def _note_of(path: Path) -> str:
    try:
        return read_regular(_note(path)).decode(errors="replace")
    except OSError:
        return ""


def open_folder(
    source: str,
    scratch: Path,
    listing: Iterable[SourceFile | FolderEntry] | None = None,
    *,
    key: str = "data.source",
) -> SourceFolder:
    """Return a local folder or an `s3://` prefix.

    Args:
        source: folder or address.
        scratch: local folder for what is fetched.
        listing: its files, where they are known already; None: they are listed now.
        key: setting or option that names it, for messages.

    Raises:
        DataError, StoreError: it cannot be read.
    """
    if "://" not in source:
        return LocalFolder(Path(source), listing, key=key)
    from oaml_core.store import open_store

    folder = StoreFolder(open_store(source), scratch, listing)
    if not folder.files:
        archive = PurePosixPath(source).suffix.lower() in ARCHIVES
        remedy = "Unpack the archive into a prefix." if archive else "Correct the bucket or the prefix."
        raise DataError(f"{key}: nothing lies under {source}. {remedy}")
    return folder
