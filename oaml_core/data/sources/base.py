"""Where raw data lies, a local folder or an `s3://` prefix, and what a training source must answer.

What a folder holds decides how it is read: `train.rec` (RecordIO), `train.csv` or `train.parquet` (a list of path
and identity), `train*.parquet` with images inside, `*.tar` (WebDataset), else one folder an identity, in `train/` or at
the top.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.errors import DataError
from oaml_core.structured_text import parse_json

if TYPE_CHECKING:
    from oaml_core.store import Store

Ints = NDArray[np.int64]
Landmarks = NDArray[np.float32]
META = "train_meta.json"
CORES = os.cpu_count() or 1
READERS = 16
"""Objects of a store that are read at a time: each waits for the network most of the time."""
LARGE = 64 << 20
"""Bytes above which a stored file is not read into memory."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source."""

    name: str
    """Relative to the source, with forward slashes."""
    size: int
    stamp: str
    """Time of the last change, or what a store's listing tells contents apart by; empty where neither is known."""


class SourceFolder(ABC):
    """A folder of raw data."""

    readers = CORES
    """Files that are worth reading at a time."""

    def __init__(self, uri: str, files: Iterable[SourceFile]) -> None:
        self.uri = uri
        self.identity = uri
        """Tells this folder from all others on the machine."""
        self.is_remote = False
        """Whether its files lie in a store, so that each question about one is a request."""
        self.files = {file.name: file for file in sorted(files, key=lambda file: file.name)}
        self.passed_over: dict[str, list[str]] = {}
        """Names of entries that are not used, by the reason."""

    def __contains__(self, name: str) -> bool:
        return name in self.files

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the bytes of one file; raises DataError if it cannot be read."""

    @abstractmethod
    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes of one file from `offset` on, fewer at its end; raises what `read` raises."""

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
    """A folder on a disk."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise DataError(
                f"data.source: {folder} is no folder. Give the folder that holds train.rec, train.csv or one "
                "folder an identity."
            )
        self.folder = folder
        passed_over: dict[str, list[str]] = {}
        super().__init__(str(folder), _walk(folder, passed_over))
        self.passed_over = passed_over
        self.identity = str(folder.resolve())

    def read(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise DataError(f"{self.folder / name} cannot be read: {error.strerror}.") from None

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        try:
            with (self.folder / name).open("rb") as file:
                return os.pread(file.fileno(), size, offset)
        except OSError as error:
            raise DataError(f"{self.folder / name} cannot be read: {error.strerror}.") from None

    def local(self, name: str) -> Path:
        return self.folder / name


def _walk(folder: Path, passed_over: dict[str, list[str]]) -> Iterable[SourceFile]:
    """List all regular files, links followed; what is not one is noted by its reason."""
    inside = {folder.resolve()}
    waiting = [(folder, inside)]
    while waiting:
        parent, above = waiting.pop()
        for entry in sorted(os.scandir(parent), key=lambda entry: entry.name):
            if entry.name.startswith(".") or entry.name.endswith(".rec.index"):
                continue
            path = Path(entry.path)
            name = path.relative_to(folder).as_posix()
            reason = _unusable(path, name, above)
            if reason is not None:
                passed_over.setdefault(reason, []).append(name.encode(errors="replace").decode())
            elif path.is_dir():
                waiting.append((path, above | {path.resolve()}))
            else:
                stat = path.stat()
                yield SourceFile(name, stat.st_size, str(stat.st_mtime_ns))


def _unusable(path: Path, name: str, above: set[Path]) -> str | None:
    """Say why an entry of a folder cannot be used; None where it can."""
    if not name.isprintable():  # line breaks forge lines of a log, surrogates cannot be written
        return "names that are no printable UTF-8"
    try:
        resolved = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return "links that lead nowhere"
    if path.is_dir():
        return "links to a folder above them" if resolved in above else None
    return None if path.is_file() else "neither files nor folders"


class StoreFolder(SourceFolder):
    """A prefix in an object store. Single images are read from it one by one. A record file or a verification set is
    fetched whole into `scratch`; a record file that finds no room there is read record by record."""

    readers = READERS

    def __init__(self, store: Store, scratch: Path) -> None:
        self.store = store
        self.scratch = scratch / hashlib.sha256(store.uri.encode()).hexdigest()[:16]
        self._fetched: set[Path] = set()
        objects = (SourceFile(info.key, info.size, info.tag) for info in store.list())
        super().__init__(store.uri, objects)
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


def open_folder(source: str, scratch: Path) -> SourceFolder:
    """Return a local folder or an `s3://` prefix; raises DataError or StoreError if it cannot be read."""
    if "://" not in source:
        return LocalFolder(Path(source))
    from oaml_core.store import open_store

    folder = StoreFolder(open_store(source), scratch)
    if not folder.files:
        raise DataError(f"data.source: nothing lies under {source}. Check the bucket and the prefix.")
    return folder


def read_meta(folder: SourceFolder) -> dict[str, Any]:
    """Return the content of `train_meta.json`, empty where there is none; raises DataError if it is no JSON object."""
    if META not in folder:
        return {}
    return parse_json(folder.read(META), folder.where(META), "Write it again, or remove it.", DataError)


def landmarks_of(folder: SourceFolder, known: dict[str, Any], images: Iterable[str], count: int) -> Landmarks | None:
    """Return float32 [count, 5, 2] with the points of each image that is known, NaN for others; None if none is known.

    Raises:
        DataError: an entry is not five points [x, y].
    """
    if not known:
        return None
    points = np.full((count, 5, 2), np.nan, dtype=np.float32)
    for row, image in enumerate(images):
        entry = known.get(image)
        if entry is None:
            continue
        try:
            points[row] = np.array(entry, dtype=np.float32).reshape(5, 2)
        except (ValueError, TypeError):
            raise DataError(f"{folder.where(META)}: {image!r} needs five points [x, y].") from None
    return points


class TrainingSource(ABC):
    """The training images of a source, numbered from 0, none of them read yet."""

    kind: str
    readers: int = CORES
    """Images that are worth reading at a time."""
    labels: Ints
    """int64 [N]: identity number of each image, as the source numbers them."""
    landmarks: Landmarks | None = None
    """float32 [N, 5, 2] in pixels of the encoded image, NaN where not known; None: no image has any."""
    notes: Sequence[str] = ()
    """What is odd about the source and does not stop its use."""
    damaged: Sequence[tuple[str, str]] = ()
    """(name, reason) of images that are known to be unreadable before any is read; they have no number."""

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def read(self, index: int) -> bytes:
        """Return the encoded image; raises DataError if it cannot be read. Fastest in rising order."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Return the image's name for messages and lists."""

    @abstractmethod
    def identity_name(self, label: int) -> str:
        """Return an identity's name."""

    @abstractmethod
    def find(self, wanted: Sequence[str]) -> Ints:
        """Return numbers of the images that the lines of a subset file name; raises DataError for one that is
        unknown.
        """
