"""Work in progress: preparations that are shared out, and uploads that were begun and not ended."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator

from oaml_core.array_files import read_arrays
from oaml_core.data.prepare.shard_files import SHARDS
from oaml_core.errors import StoreError
from oaml_core.forgetting.place import Change, Item, Place

EVALUATIONS = f"{SHARDS}/evaluation-"
"""Beginning of the keys of parts of evaluations, which name people by nothing but their data set."""
MOST_UNPACKED = 1 << 32
"""Bytes that a listing is unpacked to; the listing of a hundred million files is shorter."""


class SharedWork(Place):
    """Plans, work orders, results and listings of shared preparations: a plan that names the person goes whole.

    So do the parts of a shared evaluation of a data set that has the person: they are scored again.

    A preparation that is shared out again makes it anew. Its parts are content that no manifest names, which goes with
    the old data sets.
    """

    name = "shared preparations"

    def search(self) -> list[Item]:
        return [
            Item(self.case.store.url(key), "work of a shared preparation", sha256) for key, sha256 in self._objects()
        ]

    def erase(self) -> list[Change]:
        changes = []
        for key, sha256 in list(self._objects()):
            self.case.store.delete(key)
            changes.append(Change(Item(self.case.store.url(key), "work of a shared preparation", sha256), None))
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
            plain = _unpacked(key, content)
        except (StoreError, OSError, EOFError, zlib.error):
            return True
        person = self.case.person
        names = [name.encode() for name in person.names]
        digests = [each for digest in person.files for each in (digest.encode(), bytes.fromhex(digest))]
        data_sets = [fingerprint.encode() for fingerprint in self.case.traces if key.startswith(EVALUATIONS)]
        return any(needle in plain for needle in (*names, *digests, *person.images.values(), *data_sets))


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
    if key.endswith(".npz"):
        arrays = read_arrays(content, key, "", StoreError)
        return b"\0".join(array.tobytes() for array in arrays.values())
    return content
