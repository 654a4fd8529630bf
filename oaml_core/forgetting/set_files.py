"""The files of one prepared data set, brought here one by one, and written again without a person."""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from oaml_core.array_files import read_array
from oaml_core.data.prepared.manifest import Manifest, ManifestFile
from oaml_core.data.sources.recordio import join_frames, parse_payload
from oaml_core.errors import DataError
from oaml_core.store import Store
from oaml_core.structured_text import parse_json_value

T = TypeVar("T")
INDEX = ("parts", "offsets", "sizes")


class SetFiles(ABC):
    """Files of a data set by their paths in its manifest."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.by_path = {file.path: file for file in manifest.files}

    @abstractmethod
    def fetch(self, path: str) -> Path:
        """Return a local copy of the file."""

    def drop(self, path: str) -> None:  # noqa: B027
        """Give the room of a local copy back."""

    def parts(self, kind: str) -> Iterator[ManifestFile]:
        """Yield the record files of `train` or `visibility`, by number."""
        yield from sorted(
            (f for f in self.manifest.files if f.path.startswith(f"{kind}/part-")), key=lambda file: file.path
        )

    def array(self, path: str) -> NDArray[np.generic] | None:
        """Return the content of a `.npy`; None where the data set has none of this name."""
        if path not in self.by_path:
            return None
        where = f"{path} of the data set {self.manifest.fingerprint}"
        return read_array(self.fetch(path), where, "Run `oaml prepare --repair`.", DataError)

    def document(self, path: str, kind: type[T]) -> T:
        """Return the content of a JSON file, a list or an object.

        Raises:
            DataError: it is damaged.
        """
        where, remedy = f"{path} of the data set {self.manifest.fingerprint}", "Run `oaml prepare --repair`."
        found = parse_json_value(self.fetch(path).read_bytes(), where, remedy, DataError)
        if not isinstance(found, kind):
            raise DataError(f"{where} is damaged: it holds no JSON {kind.__name__}. {remedy}")
        return found

    def index(self, path: str) -> NDArray[np.int64]:
        """Return the numbers in a `.npy` that a data set always has."""
        found = self.array(path)
        if found is None:
            raise DataError(f"The data set {self.manifest.fingerprint} lacks {path}. Run `oaml prepare --repair`.")
        return found.astype(np.int64)


class StoredFiles(SetFiles):
    """A data set in a store; copies lie below `scratch`."""

    def __init__(self, manifest: Manifest, store: Store, scratch: Path) -> None:
        super().__init__(manifest)
        self.store, self.scratch = store, scratch / manifest.fingerprint

    def fetch(self, path: str) -> Path:
        local = self.scratch / path
        if not local.is_file():
            self.store.get_file(self.by_path[path].key, local)
        return local

    def drop(self, path: str) -> None:
        (self.scratch / path).unlink(missing_ok=True)


class LocalFiles(SetFiles):
    """A data set in a folder of this machine."""

    def __init__(self, manifest: Manifest, folder: Path) -> None:
        super().__init__(manifest)
        self.folder = folder

    def fetch(self, path: str) -> Path:
        return self.folder / path


class StoredRecord(NamedTuple):
    """One record of a part of a data set."""

    offset: int
    size: int
    digest: bytes
    """First 16 bytes of the image's SHA-256."""
    image: bytes


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap | bytes]:
    """The content of a file, not read before it is used."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content


def records_of(content: mmap.mmap | bytes, only: Set[int] | None = None) -> Iterator[StoredRecord]:
    """Yield all records of a part, or only those that begin at given offsets."""
    offset = 0
    while offset < len(content):
        payload, end = join_frames(content, offset)
        if only is None or offset in only:
            record = parse_payload(payload)
            digest = record.id.to_bytes(8, "little") + record.id2.to_bytes(8, "little")
            yield StoredRecord(offset, end - offset, digest, record.image)
        if isinstance(payload, memoryview):
            payload.release()
        offset = end


def without_records(source: Path, target: Path, gone: Set[int]) -> dict[int, int]:
    """Write a part again without the records at `gone`; return the new offset of each that stays."""
    moved: dict[int, int] = {}
    target.parent.mkdir(parents=True, exist_ok=True)
    with mapped(source) as content, target.open("wb") as file:
        for record in records_of(content):
            if record.offset not in gone:
                moved[record.offset] = file.tell()
                file.write(content[record.offset : record.offset + record.size])
    return moved
