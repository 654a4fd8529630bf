"""The last look: every byte of the store and of local folders, for images and names that should not be there."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from oaml_core.forgetting.place import Case
from oaml_core.forgetting.set_files import mapped
from oaml_core.forgetting.trees import FolderTree


def sweep(case: Case) -> tuple[int, list[str]]:
    """Return the bytes that were read, and the places that still hold an encoded image or a name of the person."""
    needles = list(case.person.images.values())
    needles += [spelt.encode() for name in case.person.names if len(name) > 2 for spelt in (name,)]
    read, hits = 0, []
    for where, path in _all_files(case):
        read += path.stat().st_size
        with mapped(path) as content:
            if any(_has(content, needle) for needle in needles):
                hits.append(case.person.redact(where))
    return read, hits


def _all_files(case: Case) -> Iterator[tuple[str, Path]]:
    copy = case.scratch / "swept"
    for info in case.store.list():
        case.store.get_file(info.key, copy)
        yield case.store.url(info.key), copy
        copy.unlink()
    for folder in (case.work, *case.folders):
        tree = FolderTree(folder, (case.scratch, Path(case.store.uri.removeprefix("file://"))))
        for key in tree.keys(("",)):
            yield tree.where(key), tree.fetch(key)
    yield from ((str(path), path) for path in case.galleries if path.is_file())


def _has(content: mmap.mmap | bytes, needle: bytes) -> bool:
    return content.find(needle) >= 0
