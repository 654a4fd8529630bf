"""What every artifact store does, whatever it lies on."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from oaml_core.counted_entries import Counted
from oaml_core.errors import StoreError
from oaml_core.folder_entries import OF_NOBODY, files_below, shown
from oaml_core.progress import bytes_progress
from oaml_core.store.keys import checked_key
from oaml_core.store.local_file import sha256_of, size_of, spare_file
from oaml_core.structured_text import Needs, parse_json

T = TypeVar("T")
log = logging.getLogger(__name__)
WORKERS = 8
"""Transfers that run at a time."""
COMPLETE = "manifest.json"
"""The file that makes a tree complete: it goes last."""
LINK_VALID = timedelta(days=1)
REMAKE = "Delete it, and run the stage that makes it again."
"""Remedy for a damaged object of which no other copy is known."""
Moved = Callable[[int], None]
"""Told the bytes that have just been moved, or, below 0, that must be moved again."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """Key, size and checksum of one object."""

    key: str
    size: int
    """Bytes."""
    sha256: str
    """Digest of the content, hexadecimal; empty where it is not known without reading."""
    modified: datetime | None = field(default=None, compare=False)
    """Time at which it was put, in UTC; listings tell it."""
    tag: str = field(default="", compare=False)
    """Another one whenever the content is another one; empty where nothing tells contents apart."""


class DamagedObject(StoreError):
    """The content of an object is not what was put.

    Args:
        what: what is wrong, a sentence.
        remedy: what the user can do, a sentence.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what} {remedy}")
        self.what, self._remedy = what, remedy

    def __reduce__(self) -> tuple[object, ...]:
        return DamagedObject, (self.what, self._remedy)  # from one process to another


class MissingObject(StoreError, FileNotFoundError):
    """A key without an object, or with an object that is not complete."""


class Store(ABC):
    """Objects by key below one prefix. What is read has the SHA-256 that it was written with.

    Keys are relative POSIX paths without `..`. Names that begin with a dot are the store's own and are not listed.
    Objects that something else put there have no SHA-256; they are read as they are.

    Attributes:
        uri: `s3://bucket/prefix` or `file:///folder`.

    Example:
        >>> import oaml_core as oaml
        >>> store = oaml.open_store("shelf")
        >>> _ = store.write_bytes("notes/first.txt", b"hello")
        >>> [info.key for info in store.list("notes/")], store.read_bytes("notes/first.txt")
        (['notes/first.txt'], b'hello')
    """

    uri: str

    @abstractmethod
    def is_made(self) -> bool:
        """Return True if the folder or bucket exists; putting the first object makes it."""

    @abstractmethod
    def stat(self, key: str) -> ObjectInfo:
        """Return size, time and SHA-256 of an object.

        Raises:
            MissingObject: there is none.
        """

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield all objects whose key begins with `prefix`, by key; their SHA-256 is empty."""

    def over_list(self, take: Callable[[Iterable[ObjectInfo]], T]) -> T:
        """Return `take(objects)` of all objects as they come, in any order; nothing of the listing is held.

        Args:
            take: called again, from the beginning, where a fault passes.
        """
        return take(self.list())

    @abstractmethod
    def is_intact(self, key: str) -> bool | None:
        """Read an object and say whether it is what was put; None if nothing tells, as for what others put there.

        Raises:
            MissingObject: there is none.
        """

    @abstractmethod
    def link(self, key: str, valid: timedelta = LINK_VALID) -> str:
        """Return an address that a browser opens without credentials, as long as it is valid; of a folder the file's
        own.

        Raises:
            MissingObject: there is no such object. StoreError: it may not be valid for so long.
        """

    @abstractmethod
    def unfinished(self, prefix: str = "") -> Sequence[ObjectInfo]:
        """Return what was begun to be put and not ended: uploads in parts, or files under temporary names; they take
        space and are not listed.

        Args:
            prefix: beginning of the keys, up to a slash.
        """

    @abstractmethod
    def forget_unfinished(self, key: str) -> None:
        """Give up all uploads of `key` that were begun and not ended."""

    def keeps_versions(self) -> bool | None:
        """Return True if earlier contents of objects stay when they are replaced or deleted; None: nobody can say."""
        return False

    def tidy(self) -> None:  # noqa: B027
        """Remove folders in which no object is left."""

    @abstractmethod
    def _put(self, path: Path, key: str, moved: Moved, is_new: bool) -> ObjectInfo:
        """`put_file`; `moved` is told the bytes as they go, `is_new` that there is no such object."""

    @abstractmethod
    def _get(self, key: str, path: Path, moved: Moved, size: int | None) -> ObjectInfo:
        """`get_file`; `moved` is told the bytes as they come, `size` is what they are expected to be, if known."""

    def put_file(self, path: Path, key: str) -> ObjectInfo:
        """Put a file; an object of the same content is not sent again."""
        with bytes_progress(size_of(path), f"put {key}") as moved:
            return self._put(path, key, moved, is_new=False)

    def get_file(self, key: str, path: Path) -> ObjectInfo:
        """Fetch an object; `path` appears by rename, and only if its SHA-256 is right.

        Returns:
            Size and SHA-256 of what has come, and the tag that the answer gave it.

        Raises:
            MissingObject: there is none. StoreError: it is damaged, or cannot be read or written here.
        """
        with bytes_progress(None, f"get {key}") as moved:
            return self._get(key, path, moved, None)

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; nothing happens if there is none."""

    def exists(self, key: str) -> bool:
        """Return True if there is such an object, whole as far as its size tells."""
        try:
            self.stat(key)
        except MissingObject:
            return False
        return True

    def url(self, key: str = "") -> str:
        """Return the full address of `key`."""
        return f"{self.uri}/{checked_key(key)}" if key else self.uri

    def read_bytes(self, key: str) -> bytes:
        """Content of a small object."""
        return self.read_object(key)[0]

    def read_object(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Return a small object's content and, as from `get_file`, what its own answer tells of it."""
        with spare_file() as path:
            info = self._get(key, path, lambda _: None, 0)
            return path.read_bytes(), info

    def read_json(self, key: str, needs: Needs = (), remedy: str = REMAKE) -> dict[str, Any]:
        """Content of a small object that holds a JSON object.

        Args:
            key: of the object.
            needs: keys that its content must have; a mapping says their types as well.
            remedy: what the user can do where it is damaged, a sentence for the error.

        Raises:
            MissingObject: there is no such object. StoreError: it is damaged, lacks a key, or has one of another type.
        """
        try:
            content = self.read_bytes(key)
        except DamagedObject as error:
            raise DamagedObject(error.what, remedy) from None
        return parse_json(content, self.url(key), remedy, StoreError, needs)

    @abstractmethod
    def read_range(self, key: str, offset: int, size: int) -> bytes:
        """Return up to `size` bytes of an object from `offset` on, fewer at its end. They are not compared with the
        SHA-256.

        Raises:
            MissingObject: there is none. StoreError: it cannot be read.
        """

    def write_bytes(self, key: str, data: bytes) -> ObjectInfo:
        """Put a small object, given as bytes."""
        with spare_file() as path:
            path.write_bytes(data)
            return self.put_file(path, key)

    def put_tree(self, folder: Path, prefix: str, last: str = COMPLETE, *, leave: bool = False) -> None:
        """Put all regular files below `folder` that have no name with a leading dot.

        What the store has already, with the same content, is not sent again. Entries that are not put are told in the
        log, by the reason.

        Args:
            folder: to put; links within it are followed, each to the file that it leads to.
            prefix: where the files go.
            last: name of the file that goes after all others.
            leave: whether links that lead out of `folder` are followed too.
        """
        sizes, left_out = {}, Counted()
        for entry in files_below(folder, leave=leave):
            if entry.reason is None:
                sizes[entry.name] = entry.size
            elif entry.reason not in OF_NOBODY:
                left_out.add(entry.reason, entry.name)
        for sentence in left_out.sentences("not put"):
            log.warning("%s: %s", shown(folder), sentence)
        top = _folder_prefix(prefix)
        there = {info.key for info in self.list(top)}
        with bytes_progress(sum(sizes.values()), f"put {prefix}") as moved:
            in_order(lambda name: self._put(folder / name, top + name, moved, top + name not in there), sizes, last)

    def get_tree(self, prefix: str, folder: Path, last: str = COMPLETE) -> None:
        """Fetch all objects below `prefix`, the one called `last` after all others; what is there and right stays.

        Raises:
            MissingObject: there are none. StoreError: one is damaged, or cannot be read or written here, or its key
            leads out of `folder`.
        """
        top = _folder_prefix(prefix)
        sizes = {checked_key(info.key.removeprefix(top)): info.size for info in self.list(top)}
        if not sizes:
            raise MissingObject(f"There is nothing below {self.url(prefix)}.")

        def fetch(name: str) -> None:
            target = folder / name
            if target.is_file() and sha256_of(target) == self.stat(top + name).sha256:
                moved(sizes[name])
            else:
                self._get(top + name, target, moved, sizes[name])

        with bytes_progress(sum(sizes.values()), f"get {prefix}") as moved:
            in_order(fetch, sizes, last)


def in_order(transfer: Callable[[str], object], sizes: Mapping[str, int], last: str) -> None:
    """Call `transfer` for all names, several at a time, and for `last`, if it is among them, after all others.

    The largest go first, so that none of them is left alone at the end.
    """
    names = sorted(sizes, key=lambda name: -sizes[name])
    with ThreadPoolExecutor(WORKERS) as pool:
        tasks = [pool.submit(transfer, name) for name in names if name != last]
        try:
            for task in tasks:
                task.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if last in names:
        transfer(last)


def damaged(url: str, found: str, expected: str) -> StoreError:
    """Return the error for content that is not what was put."""
    return DamagedObject(f"{url} is damaged: its SHA-256 is {found[:16]}…, not {expected[:16]}….", REMAKE)


def _folder_prefix(prefix: str) -> str:
    return f"{prefix.rstrip('/')}/" if prefix else ""
