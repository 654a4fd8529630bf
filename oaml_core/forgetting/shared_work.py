"""Work in progress: preparations and evaluations that are shared out, and uploads that were begun and not ended."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from typing import Any

from oaml_core.array_files import read_arrays
from oaml_core.data.prepare.shard_files import SHARDS
from oaml_core.errors import StoreError
from oaml_core.forgetting.place import Change, Item, Place
from oaml_core.structured_text import json_or_none

FOLDERS = f"{SHARDS}/faces-"
"""Beginning of the keys of parts of evaluations of folders: descriptions of images, which name these, and scores."""
WHAT = "a part of shared work"
MOST_UNPACKED = 1 << 32
"""Bytes that a listing is unpacked to; the listing of a hundred million files is shorter."""


class SharedWork(Place):
    """Plans, work orders, results and listings of shared preparations: a plan that names the person goes whole.

    So do the parts of a shared evaluation of a data set or folder that has the person, and of pairs of which nobody can
    say whom they show.

    Shared work that is given again is made anew. Parts of a preparation are content that no manifest names, which goes
    with the old data sets.
    """

    name = "shared work"

    def search(self) -> list[Item]:
        return [Item(self.case.store.url(key), WHAT, sha256) for key, sha256 in self._objects()]

    def erase(self) -> list[Change]:
        changes = []
        for key, sha256 in list(self._objects()):
            self.case.store.delete(key)
            changes.append(Change(Item(self.case.store.url(key), WHAT, sha256), None))
        return changes

    def _objects(self) -> Iterator[tuple[str, str]]:
        """Yield key and SHA-256 of all objects of plans that have something of the person."""
        plans: dict[str, list[tuple[str, str]]] = {}
        told: set[str] = set()
        for info in self.case.store.list(f"{SHARDS}/"):
            self.looked_at += 1
            plan = "/".join(info.key.split("/")[:2])
            content = self.case.store.read_bytes(info.key)
            plans.setdefault(plan, []).append((info.key, hashlib.sha256(content).hexdigest()))
            if plan not in told and self._tells(info.key, content):
                told.add(plan)
        yield from (each for plan, objects in plans.items() if plan in told for each in objects)

    def _tells(self, key: str, content: bytes) -> bool:
        """Return True if an object names the person or an image, or cannot be read, so that nobody can say."""
        try:
            arrays = read_arrays(content, key, "", StoreError) if key.endswith(".npz") else None
            plain = _unpacked(key, content) if arrays is None else b"\0".join(a.tobytes() for a in arrays.values())
        except (StoreError, OSError, EOFError, zlib.error):
            return True
        person = self.case.person
        names = [name.encode() for name in person.names]
        digests = [each for digest in person.files for each in (digest.encode(), bytes.fromhex(digest))]
        if any(needle in plain for needle in (*names, *digests, *person.images.values())):
            return True
        about = json_or_none(arrays["about"].tobytes()) if arrays is not None and "about" in arrays else None
        made_by = about.get("made_by") if isinstance(about, dict) else None
        return isinstance(made_by, dict) and self._may_show(key, made_by)

    def _may_show(self, key: str, made_by: dict[str, Any]) -> bool:
        """Return True if a part of an evaluation may be of the person, by what it was made of."""
        data_set = made_by.get("data set")
        if data_set in self.case.traces:
            return True
        return data_set not in self.case.known_sets and not key.startswith(FOLDERS)


class Unfinished(Place):
    """Uploads that were begun and not ended: nobody can look into them, so all go."""

    name = "unfinished uploads"

    def search(self) -> list[Item]:
        found = self.case.store.unfinished()
        self.looked_at += len(found)
        return [Item(self.case.store.url(info.key), "an upload that was not ended") for info in found]

    def erase(self) -> list[Change]:
        store, changes = self.case.store, []
        for info in store.unfinished():
            store.forget_unfinished(info.key)
            changes.append(Change(Item(store.url(info.key), "an upload that was not ended"), None))
        return changes


def _unpacked(key: str, content: bytes) -> bytes:
    if key.endswith(".gz"):
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            return file.read(MOST_UNPACKED)
    return content
