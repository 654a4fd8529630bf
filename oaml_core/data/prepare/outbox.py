"""Finished files on their way to the store: each content is sent once, whatever data set it belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from oaml_core.data.prepared.manifest import ManifestFile
from oaml_core.data.prepared.prepared import DATASETS

if TYPE_CHECKING:
    from oaml_core.store import Store

CONTENT = f"{DATASETS}/files"
"""Folder of a store with the contents of all data sets."""
COMMITTING = "datasets"
"""Lease under which a manifest is written, and under which content that no manifest names is removed."""


def content_key(sha256: str) -> str:
    """Return the key of a content in a store."""
    return f"{CONTENT}/{sha256}"


class Outbox:
    """Sends files and remembers them for the manifest.

    Args:
        store: where they go.
        folder: what the files' names in the manifest are relative to.
        keep: leave the local files; False removes each one as soon as it is sent.
    """

    def __init__(self, store: Store, folder: Path, keep: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.store = store
        self.folder = folder
        self.keep = keep
        self.files: list[ManifestFile] = []
        self.sent = 0
        """Bytes that went to the store."""
        self.already_there = 0
        """Bytes that it had from an earlier data set."""

    def send(self, path: Path, sha256: str | None = None) -> None:
        """Send one finished file; `sha256` where it is known already."""
        if sha256 is None:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        key, size = content_key(sha256), path.stat().st_size
        if self._is_there(key, size, sha256):
            self.already_there += size
        else:
            self.store.put_file(path, key)
            self.sent += size
        self.files.append(ManifestFile(path.relative_to(self.folder).as_posix(), size, sha256, key))
        if not self.keep:
            path.unlink()

    def note(self, file: ManifestFile) -> None:
        """Remember a file that another process has sent."""
        self.already_there += file.size
        self.files.append(file)

    def _is_there(self, key: str, size: int, sha256: str) -> bool:
        if not self.store.exists(key):
            return False
        found = self.store.stat(key)
        return found.size == size and found.sha256 in ("", sha256)  # not every server tells the checksum

    def send_all(self, folder: Path) -> None:
        """Send the files of a folder that were not sent yet, by name."""
        done = {file.path for file in self.files}
        for path in sorted(folder.iterdir()):
            if path.relative_to(self.folder).as_posix() not in done:
                self.send(path)

    def lacking(self) -> list[ManifestFile]:
        """Return the files that the store has no longer, after those that are still here were sent again."""
        gone = lacking(self.store, self.files)
        for file in gone:
            if (path := self.folder / file.path).is_file():
                self.store.put_file(path, file.key)
        return [file for file in gone if not (self.folder / file.path).is_file()]


def lacking(store: Store, files: Sequence[ManifestFile]) -> list[ManifestFile]:
    """Return the files of a data set that a store lacks, or has in another size."""
    sizes = {info.key: info.size for info in store.list(f"{CONTENT}/")}
    return [file for file in files if sizes.get(file.key) != file.size]
