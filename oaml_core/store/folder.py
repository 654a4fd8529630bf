"""A store in a folder. The SHA-256 of what was put lies beside it in `.sha256/`, so that damage is noticed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from oaml_core.registry import register_store
from oaml_core.store.base import (
    LINK_VALID,
    MissingObject,
    Moved,
    ObjectInfo,
    Store,
    checked_key,
    checked_prefix,
    damaged,
    digest_key,
    is_listed,
)
from oaml_core.store.local_file import appearing, sha256_of, unusable_file

CHUNK_BYTES = 2**20


class FolderStore(Store):
    """Objects are files below `folder`. Each appears by rename, after its content is on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.uri = f"file://{self.folder}"

    def is_made(self) -> bool:
        return self.folder.exists()

    def _put(self, path: Path, key: str, moved: Moved, is_new: bool) -> ObjectInfo:
        target, digest_path = self._path(key), self._path(digest_key(key))
        digest = sha256_of(target) if target.is_file() else ""
        if digest != _digest_of_source(path):
            # In between there is an object without a digest, never one with another's.
            digest_path.unlink(missing_ok=True)
            digest = _copy(path, target, moved)
        if self._digest(key) != digest:
            with appearing(digest_path) as temporary:
                temporary.write_text(f"{digest} {target.stat().st_size}\n")
        return ObjectInfo(key, target.stat().st_size, digest)

    def _get(self, key: str, path: Path, moved: Moved, size: int | None) -> None:
        source = self._existing(key)
        _copy(source, path, moved, self.url(key), self._digest(key))

    def read_range(self, key: str, offset: int, size: int) -> bytes:
        path = self._existing(key)
        try:
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(size)
        except OSError as error:
            raise unusable_file(path, error) from None

    def is_intact(self, key: str) -> bool | None:
        found = sha256_of(self._existing(key))
        known = self._digest(key)
        return found == known if known else None

    def link(self, key: str, valid: timedelta = LINK_VALID) -> str:
        return self._existing(key).as_uri()

    def stat(self, key: str) -> ObjectInfo:
        path = self._existing(key)
        return ObjectInfo(key, path.stat().st_size, self._digest(key) or sha256_of(path))

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        top = self.folder / checked_prefix(prefix).rpartition("/")[0]
        keys = (path.relative_to(self.folder).as_posix() for path in top.rglob("*") if path.is_file())
        for key in sorted(key for key in keys if key.startswith(prefix) and is_listed(key)):
            found = (self.folder / key).stat()
            yield ObjectInfo(key, found.st_size, "", datetime.fromtimestamp(found.st_mtime, UTC))

    def unfinished(self) -> Sequence[ObjectInfo]:
        return ()

    def forget_unfinished(self, key: str) -> None:
        checked_key(key)

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)
        self._path(digest_key(key)).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / checked_key(key)

    def _digest(self, key: str) -> str:
        """The SHA-256 that the object was put with; empty if something else put it there."""
        path = self._path(digest_key(key))
        return path.read_text().split()[0] if path.is_file() else ""

    def _existing(self, key: str) -> Path:
        path = self._path(key)
        if not path.is_file():
            raise MissingObject(f"There is no {self.url(key)}.")
        return path


def _digest_of_source(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise unusable_file(path, error) from None


def _copy(source: Path, target: Path, moved: Moved, url: str = "", expected: str = "") -> str:
    """Copy, by rename at the end; the SHA-256 of what was copied.

    Raises:
        StoreError: that is not `expected`, if it is given; or the target cannot be written.
    """
    digest = hashlib.sha256()
    with appearing(target) as temporary, temporary.open("wb") as out, source.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            out.write(chunk)
            moved(len(chunk))
        if expected not in ("", digest.hexdigest()):
            raise damaged(url, digest.hexdigest(), expected)
    return digest.hexdigest()


@register_store("file")
def _open_folder(uri: str) -> FolderStore:
    """Open the store at `file:///folder`, or at a folder's plain path."""
    return FolderStore(Path(uri.removeprefix("file://")))
