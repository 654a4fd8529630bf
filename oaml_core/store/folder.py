"""A store in a folder. The SHA-256 of what was put lies beside it in `.sha256/`, so that damage is noticed.

Writers of a folder's objects replace them one at a time. While an object is replaced the digests of the old and of the
new content are noted; the rename of the content decides. Readers see the one or the other whole.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from oaml_core.errors import StoreError
from oaml_core.folder_entries import files_below, open_regular, read_regular, shown
from oaml_core.registry import register_store
from oaml_core.store.base import LINK_VALID, REMAKE, DamagedObject, MissingObject, Moved, ObjectInfo, Store, damaged
from oaml_core.store.keys import DIGESTS, checked_key, checked_prefix, digest_key, is_listed
from oaml_core.store.local_file import appearing, is_temporary, only_one, sha256_of, size_of, unusable_file
from oaml_core.store.traffic import count_traffic

CHUNK_BYTES = 2**20
LOCK = ".lock"
"""In the folder of digests."""
NOTE_BYTES = 4096
"""Most bytes of a note of digests; two take 130."""
NAME_BYTES = 230
"""Most bytes of a part of a key: temporary names are longer, and file systems take 255."""


class FolderStore(Store):
    """Objects are files below `folder`. Each appears by rename, after its content is on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.uri = f"file://{self.folder}"

    def is_made(self) -> bool:
        return self.folder.exists()

    def _refuse_file(self) -> None:
        """Raise StoreError where a file is in the folder's place: asked when it is used, as it may go meanwhile."""
        if self.folder.is_file():
            raise StoreError(f"{self.folder} is a file; a store is a folder. Name the folder that the store lies in.")

    def _put(self, path: Path, key: str, moved: Moved, is_new: bool) -> ObjectInfo:
        self._refuse_file()
        count_traffic(requests=1)
        target, digest = self._path(key), _digest_of_source(path)
        if self._digests(key) == {digest} and target.is_file() and sha256_of(target) == digest:
            return ObjectInfo(key, size_of(path), digest)
        copied = _Copied()
        with appearing(target, lambda new, _: self._show(new, key, copied.sha256)) as temporary:
            copied.take(path, temporary, moved)
        count_traffic(written=copied.size)
        return ObjectInfo(key, copied.size, copied.sha256)

    def _show(self, new: Path, key: str, digest: str) -> None:
        """Let the file `new` be the object; at any moment the digest of what is there is noted.

        Until the old content is replaced both digests are noted, so that whoever is killed in between leaves an object
        that can be read.
        """
        target = self._path(key)
        with only_one(self._lock(key)):
            known = self._digests(key)
            noted = {digest} | (known or {sha256_of(target)} if target.is_file() else set())
            if known != noted:
                self._note(key, noted)
            new.replace(target)
            if noted != {digest}:
                self._note(key, {digest})

    def _get(self, key: str, path: Path, moved: Moved, size: int | None) -> ObjectInfo:
        with appearing(path) as temporary:
            copied = _Copied()

            def copy(source: Path) -> str:
                moved(-copied.size)  # of a first try that ended between two writers
                copied.take(source, temporary, moved)
                count_traffic(requests=1, read=copied.size)
                return copied.sha256

            found, known = self._read(key, copy)
            if known and found not in known:
                raise damaged(self.url(key), found, min(known))
        return ObjectInfo(key, copied.size, found)

    def _read(self, key: str, read: Callable[[Path], str]) -> tuple[str, set[str]]:
        """Read an object; where its digest does not fit, once more while no writer may replace it.

        Args:
            key: of the object.
            read: reads a file and returns the SHA-256 of its content.

        Returns:
            The SHA-256 of what was read, and those that the object may have; none if something else put it there.

        Raises:
            MissingObject: there is no such object.
        """
        found, known = "", {""}
        for alone in (False, True):
            with _only_reader(self._lock(key)) if alone else nullcontext():
                known = self._digests(key)
                try:
                    found = read(self._existing(key))
                except FileNotFoundError as error:  # deleted meanwhile
                    raise self._missing(key) from error
            if not known or found in known:
                break
        return found, known

    def read_range(self, key: str, offset: int, size: int) -> bytes:
        path = self._existing(key)
        try:
            with open_regular(path) as file:
                file.seek(offset)
                content = file.read(size)
        except OSError as error:
            raise unusable_file(path, error) from None
        count_traffic(requests=1, read=len(content))
        return content

    def is_intact(self, key: str) -> bool | None:
        found, known = self._read(key, sha256_of)
        count_traffic(requests=1, read=size_of(self._existing(key)))
        return found in known if known else None

    def link(self, key: str, valid: timedelta = LINK_VALID) -> str:
        return self._existing(key).as_uri()

    def stat(self, key: str) -> ObjectInfo:
        count_traffic(requests=1)
        known = self._digests(key)
        try:
            path = self._existing(key)
            return ObjectInfo(key, path.stat().st_size, next(iter(known)) if len(known) == 1 else sha256_of(path))
        except FileNotFoundError as error:
            raise self._missing(key) from error

    def exists(self, key: str) -> bool:
        count_traffic(requests=1)
        return self._path(key).is_file()

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        begin = checked_prefix(prefix).rpartition("/")[0]
        self._refuse_file()
        count_traffic(requests=1)
        top = self.folder / begin
        if not top.is_dir():
            return
        entries = files_below(top, leave=False, any_name=True, within=self.folder)
        found = {f"{begin}/{each.name}" if begin else each.name: each for each in entries if each.reason is None}
        for key in sorted(key for key in found if key.startswith(prefix) and is_listed(key)):
            modified = datetime.fromtimestamp(found[key].changed / 1e9, UTC)
            yield ObjectInfo(key, found[key].size, "", modified)

    def unfinished(self, prefix: str = "") -> Sequence[ObjectInfo]:
        top = self.folder / checked_prefix(prefix)
        entries = files_below(top, leave=False, any_name=True, within=self.folder) if top.is_dir() else ()
        return [
            ObjectInfo(prefix + each.name, each.size, "", datetime.fromtimestamp(each.changed / 1e9, UTC))
            for each in entries
            if each.reason is None and is_temporary(each.path.name)
        ]

    def forget_unfinished(self, key: str) -> None:
        path = self.folder / checked_key(key)
        if is_temporary(path.name):
            path.unlink(missing_ok=True)

    def tidy(self) -> None:
        for top, _, _ in os.walk(self.folder, topdown=False):
            folder = Path(top)
            if folder != self.folder and is_listed(folder.relative_to(self.folder).as_posix()):
                self._remove_if_empty(folder)

    def _remove_if_empty(self, folder: Path) -> None:
        """Remove a folder that holds no object, with the lock that is left in it; another writer's stays."""
        notes = folder / DIGESTS
        with suppress(OSError):  # somebody puts an object there, or the store may only be read
            if set(os.listdir(folder)) <= {DIGESTS} and (not notes.is_dir() or set(os.listdir(notes)) <= {LOCK}):
                if notes.is_dir():
                    with only_one(notes / LOCK):
                        (notes / LOCK).unlink(missing_ok=True)
                    notes.rmdir()
                folder.rmdir()

    def delete(self, key: str) -> None:
        count_traffic(requests=1)
        if not self._path(key).is_file() and not self._digests(key):
            return
        try:
            with only_one(self._lock(key)):
                self._path(key).unlink(missing_ok=True)
                self._path(digest_key(key)).unlink(missing_ok=True)
        except OSError as error:
            raise unusable_file(self._path(key), error) from error

    def _path(self, key: str) -> Path:
        if any(len(part.encode(errors="surrogateescape")) > NAME_BYTES for part in checked_key(key).split("/")):
            raise StoreError(f"The key {key[:40]}… is too long: a folder takes names of at most {NAME_BYTES} bytes.")
        path = self.folder / key
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.folder)):
            raise StoreError(
                f"{shown(path)} is a link, or lies below one, that leads out of the store. Put the files themselves "
                "there, or let the whole folder of the store be the link."
            )
        return path

    def _lock(self, key: str) -> Path:
        """Return the file that a writer holds while it replaces an object; one for all objects of a folder."""
        return self._path(digest_key(key)).with_name(LOCK)

    def _digests(self, key: str) -> set[str]:
        """Return the SHA-256 that the object was put with; two while it is replaced, none if something else put it
        there.
        """
        note = self._path(digest_key(key))
        try:
            lines = read_regular(note, NOTE_BYTES).decode().splitlines()
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise unusable_file(note, error) from None
        except UnicodeDecodeError:
            raise DamagedObject(f"The note of the SHA-256 of {self.url(key)} is damaged.", REMAKE) from None
        return {line.split()[0] for line in lines if line.strip()}

    def _note(self, key: str, digests: set[str]) -> None:
        with appearing(self._path(digest_key(key))) as temporary:
            temporary.write_text("".join(f"{digest}\n" for digest in sorted(digests)))

    def _existing(self, key: str) -> Path:
        path = self._path(key)
        if not path.is_file():
            raise self._missing(key)
        return path

    def _missing(self, key: str) -> MissingObject:
        return MissingObject(f"There is no {self.url(key)}.")


class _Copied:
    """Size and SHA-256 of the content that was copied."""

    def __init__(self) -> None:
        self.size, self.sha256 = 0, ""

    def take(self, source: Path, target: Path, moved: Moved) -> None:
        """Copy `source` to `target`, in place of what was copied before."""
        self.size, digest = 0, hashlib.sha256()
        with target.open("wb") as out, open_regular(source) as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                out.write(chunk)
                moved(len(chunk))
                self.size += len(chunk)
        self.sha256 = digest.hexdigest()


@contextmanager
def _only_reader(lock: Path) -> Iterator[None]:
    """Let no writer in meanwhile; do without in a store that may only be read, and so is not written by this user."""
    with ExitStack() as held:
        with suppress(OSError):
            held.enter_context(only_one(lock))
        yield


def _digest_of_source(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise unusable_file(path, error) from None


def path_at(uri: str) -> Path:
    """Return the path that `file:///path` or a plain path names.

    Raises:
        StoreError: it names a server, as `file://folder/x` does: two slashes stand before a server's name.
    """
    path = uri.removeprefix("file://")
    if path != uri and not path.startswith("/"):
        raise StoreError(
            f"{uri} names the server {path.partition('/')[0]}. Give file:///folder with three slashes, or a plain path."
        )
    return Path(path)


@register_store("file")
def _open_folder(uri: str) -> FolderStore:
    """Open the store at `file:///folder`, or at a folder's plain path."""
    return FolderStore(path_at(uri))
