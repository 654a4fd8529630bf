"""The last look: every byte of the store and of local folders, for images and names that should not be there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from oaml_core.folder_entries import open_regular
from oaml_core.forgetting.place import Case
from oaml_core.forgetting.trees import FolderTree
from oaml_core.store import MissingObject
from oaml_core.store.base import DamagedObject

CHUNK = 1 << 24
"""Bytes that are looked through at once. A file that others change is read, and never mapped: where it is cut off
meanwhile, the system would end the process."""


@dataclass(frozen=True)
class Swept:
    """The result of looking through all files."""

    read: int
    """Bytes that were read."""
    hits: list[str]
    """Places that still hold an encoded image or a name of the person."""
    unread: list[str]
    """Places that could not be read to their end, each with the reason."""


def sweep(case: Case) -> Swept:
    """Look through all files; those that others remove meanwhile hold nothing any more."""
    needles = list(case.person.images.values())
    needles += [spelt.encode() for name in case.person.names if len(name) > 2 for spelt in (name,)]
    read, hits, unread = 0, [], []
    for where, path in _all_files(case):
        try:
            if isinstance(path, Exception):
                raise path
            size, found = _look_through(path, needles)
            read += size
            if found:
                hits.append(case.person.redact(where))
        except FileNotFoundError:  # MissingObject too
            continue
        except (OSError, DamagedObject) as error:
            unread.append(case.person.redact(f"{where} ({getattr(error, 'strerror', None) or error})"))
    return Swept(read, hits, unread)


def _all_files(case: Case) -> Iterator[tuple[str, Path | MissingObject | DamagedObject]]:
    """Yield each file's place, and the file itself or why the store did not give it."""
    copy = case.scratch / "swept"
    for info in case.store.list():
        try:
            case.store.get_file(info.key, copy)
        except (MissingObject, DamagedObject) as error:
            yield case.store.url(info.key), error
            continue
        yield case.store.url(info.key), copy
        copy.unlink()
    for folder in (case.work, *case.folders):
        tree = FolderTree(folder, (case.scratch, Path(case.store.uri.removeprefix("file://"))))
        for key in tree.keys(("",)):
            yield tree.where(key), tree.fetch(key)
    yield from ((str(path), path) for path in case.galleries if path.is_file())


def _look_through(path: Path, needles: Sequence[bytes]) -> tuple[int, bool]:
    """Return the bytes of a file that were read, and True as soon as one of the needles is among them."""
    kept = max(map(len, needles), default=1) - 1
    size, end = 0, b""
    with open_regular(path) as file:
        while chunk := file.read(CHUNK):
            size += len(chunk)
            block = end + chunk
            if any(needle in block for needle in needles):
                return size, True
            end = block[len(block) - kept :]
    return size, False
