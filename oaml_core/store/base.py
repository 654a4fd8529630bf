"""What every artifact store does, whatever it lies on."""

from __future__ import annotations

import hashlib
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from oaml_core.errors import StoreError

WORKERS = 8
"""Transfers that run at a time."""


@dataclass(frozen=True)
class ObjectInfo:
    """One object."""

    key: str
    size: int
    """Bytes."""
    sha256: str
    """Of the content, hexadecimal; empty where it is not known without reading."""


class Store(ABC):
    """Objects by key below one prefix. What is read has the SHA-256 that it was written with.

    Attributes:
        uri: `s3://bucket/prefix` or `file:///folder`.
    """

    uri: str

    @abstractmethod
    def put_file(self, path: Path, key: str) -> ObjectInfo:
        """Put a file; an object of the same content is not sent again."""

    @abstractmethod
    def get_file(self, key: str, path: Path) -> None:
        """Fetch an object; `path` appears by rename, and only if its SHA-256 is right."""

    @abstractmethod
    def stat(self, key: str) -> ObjectInfo:
        """What is known of an object.

        Raises:
            StoreError: there is none.
        """

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether there is such an object."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key begins with `prefix`, in order; their SHA-256 is empty."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; nothing happens if there is none."""

    def url(self, key: str = "") -> str:
        """Full address of `key`."""
        return f"{self.uri}/{checked_key(key)}" if key else self.uri

    def read_bytes(self, key: str) -> bytes:
        """Content of a small object."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "object"
            self.get_file(key, path)
            return path.read_bytes()

    def write_bytes(self, key: str, data: bytes) -> ObjectInfo:
        """Put a small object."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "object"
            path.write_bytes(data)
            return self.put_file(path, key)

    def put_tree(self, folder: Path, prefix: str, last: str | None = None) -> None:
        """Put all files below `folder`, the one called `last` after all others."""
        files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        with ThreadPoolExecutor(WORKERS) as pool:
            for _ in pool.map(lambda f: self.put_file(folder / f, f"{prefix}/{f}"), (f for f in files if f != last)):
                pass
        if last is not None:
            self.put_file(folder / last, f"{prefix}/{last}")

    def get_tree(self, prefix: str, folder: Path, last: str | None = None) -> None:
        """Fetch all objects below `prefix`, the one called `last` after all others; what is there and right stays."""
        keys = [info.key.removeprefix(f"{prefix}/") for info in self.list(f"{prefix}/")]
        if not keys:
            raise StoreError(f"There is nothing below {self.url(prefix)}.")

        def fetch(name: str) -> None:
            target = folder / name
            if not (target.exists() and sha256_of(target) == self.stat(f"{prefix}/{name}").sha256):
                self.get_file(f"{prefix}/{name}", target)

        with ThreadPoolExecutor(WORKERS) as pool:
            for _ in pool.map(fetch, (key for key in keys if key != last)):
                pass
        if last is not None:
            fetch(last)


def open_store(uri: str) -> Store:
    """The store at `s3://bucket/prefix`, `file:///folder` or a folder's path.

    S3 credentials and endpoint come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    OAML_S3_ENDPOINT (`http://host:port`), OAML_S3_CA_BUNDLE.

    Raises:
        StoreError: the address is not one of these, or the store cannot be reached.
    """
    if uri.startswith("s3://"):
        from oaml_core.store.s3 import S3Store

        return S3Store(uri)
    if "://" in uri and not uri.startswith("file://"):
        raise StoreError(f"{uri} is not a store: give s3://bucket/prefix, file:///folder or a folder.")
    from oaml_core.store.folder import FolderStore

    return FolderStore(Path(uri.removeprefix("file://")))


def split_uri(uri: str) -> tuple[Store, str]:
    """The store that holds the object at `uri`, and its key: `s3://bucket/a/b` gives (bucket, `a/b`)."""
    if uri.startswith("s3://"):
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return open_store(f"s3://{bucket}"), key
    path = Path(uri.removeprefix("file://"))
    return open_store(str(path.parent)), path.name


def checked_key(key: str) -> str:
    """`key`, if it stays below the store's prefix.

    Raises:
        StoreError: it is absolute, empty, or climbs out with `..`.
    """
    parts = PurePosixPath(key).parts
    if not parts or key.startswith("/") or ".." in parts:
        raise StoreError(f"{key!r} is not a key: keys are relative paths without '..'.")
    return key


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def temporary_beside(path: Path) -> Path:
    """A name in the same folder, so that the rename to `path` is atomic."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    return Path(name)
