"""A store in a folder. Each object has its SHA-256 beside it in `.sha256/`, so that damage is noticed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from oaml_core.errors import StoreError
from oaml_core.store.base import ObjectInfo, Store, checked_key, sha256_of, temporary_beside

DIGESTS = ".sha256"


class FolderStore(Store):
    """Objects are files below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.uri = f"file://{self.folder}"

    def put_file(self, path: Path, key: str) -> ObjectInfo:
        digest = sha256_of(path)
        if not (self.exists(key) and self._digest(key) == digest):
            self._copy(path, self._path(key))
            target = self._digest_path(key)
            temporary = temporary_beside(target)
            temporary.write_text(digest)
            temporary.replace(target)
        return ObjectInfo(key, path.stat().st_size, digest)

    def get_file(self, key: str, path: Path) -> None:
        source = self._existing(key)
        expected, found = self._digest(key), sha256_of(source)
        if expected not in ("", found):
            raise StoreError(f"{self.url(key)} is damaged: its SHA-256 is {found}, not {expected}. Put it again.")
        self._copy(source, path)

    def stat(self, key: str) -> ObjectInfo:
        path = self._existing(key)
        return ObjectInfo(key, path.stat().st_size, self._digest(key) or sha256_of(path))

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        top = self.folder / prefix.rpartition("/")[0]
        for path in sorted(top.rglob("*")):
            relative = path.relative_to(self.folder)
            hidden = any(part.startswith(".") for part in relative.parts)
            if path.is_file() and relative.as_posix().startswith(prefix) and not hidden:
                yield ObjectInfo(relative.as_posix(), path.stat().st_size, "")

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)
        self._digest_path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / checked_key(key)

    def _digest_path(self, key: str) -> Path:
        return self.folder / DIGESTS / checked_key(key)

    def _digest(self, key: str) -> str:
        path = self._digest_path(key)
        return path.read_text() if path.exists() else ""

    def _existing(self, key: str) -> Path:
        path = self._path(key)
        if not path.is_file():
            raise StoreError(f"There is no {self.url(key)}.")
        return path

    def _copy(self, source: Path, target: Path) -> None:
        temporary = temporary_beside(target)
        try:
            shutil.copyfile(source, temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
        except OSError as error:
            raise StoreError(f"{target} could not be written: {error}.") from error
        finally:
            temporary.unlink(missing_ok=True)
