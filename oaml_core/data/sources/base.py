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
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from oaml_core.data.sources.listing import OWN_INDEX as OWN_INDEX
from oaml_core.data.sources.listing import SourceFile as SourceFile
from oaml_core.data.sources.listing import apart, entries_of_folder, entry_of_store
from oaml_core.data.sources.training_source import CORES as CORES
from oaml_core.data.sources.training_source import IS_THERE, NOT_THERE
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
from oaml_core.printable_names import file_spelling
from oaml_core.store.base import MissingObject

if TYPE_CHECKING:
    from oaml_core.store import ObjectInfo, Store

READERS = 16
"""Objects of a store that are read at a time: each waits for the network most of the time."""
LIST_AGAIN = "Run the command again; where data.inventory lists the source, once the next inventory is written."
LARGE = 64 << 20
"""Bytes above which a stored file is not read into memory."""
READ_AT_ONCE = 1 << 20
"""Bytes up to which a stored file is read for its SHA-256 without asking first whether the store tells it."""


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
        self.is_whole = True
        """True if `files` are all that lie there."""
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

    def names_of_one(self, below: str) -> dict[str, str]:
        """Return links in the folder `below` to folders that stand there under another name, too: that name by the
        link's.
        """
        return {}

    def spelled_otherwise(self, name: str) -> str | None:
        """Return the file that a list may mean by `name`; None if there is none, or not all files are known.

        Its name differs by case, accents or ending, or lacks folders that the list's path begins with.
        """
        if not self.is_whole:
            return None
        parts = name.split("/")
        paths = ("/".join(parts[start:]) for start in range(len(parts)))
        return next((found for path in paths if (found := self._spellings.get(file_spelling(path)))), None)

    @cached_property
    def _spellings(self) -> dict[str, str]:
        return {file_spelling(name): name for name in reversed(self.files)}

    def not_there(self, name: str) -> DataError:
        """Return the error of a file that a list names, and that is not there."""
        other = self.spelled_otherwise(name)
        return DataError(f"{shown(name)} {NOT_THERE}" + (f"; {shown(other)} {IS_THERE}" if other else ""))

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
        """Return the SHA-256 of a file's content, hexadecimal; empty if it cannot be read: `read` says why."""
        with open_regular(self.local(name)) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def where(self, name: str) -> str:
        """Return the file's full name, for messages."""
        return f"{self.uri.rstrip('/')}/{name}"


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
            return self.not_there(name)
        return DataError(f"{shown(self.folder / name)} cannot be read: {error.strerror}.")

    def local(self, name: str) -> Path:
        return self.folder / name

    def sha256(self, name: str) -> str:
        try:
            return super().sha256(name)
        except OSError:  # one image does not stop all others; a file that is needed is named by its reader
            return ""


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
        try:
            data, found = self.store.read_object(name)
        except MissingObject:
            raise self.not_there(name) from None
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
        self._compare(name, found)
        known = found.sha256
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
