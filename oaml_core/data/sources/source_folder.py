"""Folder of raw data, wherever it lies: names, spellings, and files that are lost while it is read."""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from oaml_core.data.sources.listing import SourceFile
from oaml_core.data.sources.lost_files import LostFiles
from oaml_core.data.sources.training_source import CORES, IS_THERE, NOT_THERE
from oaml_core.errors import DataError
from oaml_core.folder_entries import FolderEntry, shown
from oaml_core.printable_names import file_spelling


class SourceFolder(ABC):
    """A folder of raw data, on a disk or in a store."""

    readers = CORES
    """Files that are worth reading at a time."""

    def __init__(self, uri: str, files: Iterable[SourceFile], passed_over: Sequence[FolderEntry] = ()) -> None:
        self.uri = uri
        self.identity = uri
        """Tells this folder from all others on the machine."""
        self.is_remote = False
        """True if its files lie in a store, so that each question about one is a request."""
        self.files = {file.name: file for file in sorted(files, key=lambda file: file.name)}
        self.is_whole = True
        """True if `files` are all that lie there."""
        self.passed_over = passed_over
        """Entries that no reader sees, each with its reason."""
        self.lost = LostFiles(self.files)
        """Files whose content does not come as it was listed."""

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

    @abstractmethod
    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a file's content, hexadecimal; empty if it cannot be read: `read` says why."""

    @abstractmethod
    def look_again(self, name: str) -> None:
        """Remember the file as lost if it is no longer as it was listed, as far as that can be told without reading."""

    def where(self, name: str) -> str:
        """Return the file's full name, for messages."""
        return f"{self.uri.rstrip('/')}/{name}"
