"""Prepared data sets of the store: new ones without the person first; old manifests and content go last."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np

from oaml_core.data.prepare.outbox import COMMITTING, CONTENT
from oaml_core.data.prepared.manifest import MANIFEST, Manifest, parse_manifest
from oaml_core.data.prepared.prepared import DATASETS, manifest_key
from oaml_core.forgetting.place import Case, Change, Item, Place, Remainder
from oaml_core.forgetting.set_files import SetFiles, StoredFiles
from oaml_core.forgetting.set_rewrite import SetRewriter, links_before, numbers_before
from oaml_core.forgetting.set_search import SetFound, learn_images, learn_pixels, search_set
from oaml_core.store import Store
from oaml_core.store.lease import lease


def manifests_of(store: Store) -> list[Manifest]:
    """Return the manifests of all data sets in a store."""
    keys = [info.key for info in store.list(f"{DATASETS}/") if info.key.endswith(f"/{MANIFEST}")]
    return [parse_manifest(store.read_bytes(key), store.url(key)) for key in keys]


def note_traces(case: Case, files: SetFiles, found: SetFound) -> None:
    """Remember what is found of the person by what was made from this data set and from those before it."""
    classes, touched = list(found.classes), list(found.touched)
    pairs = {name: np.flatnonzero(gone).tolist() for name, gone in found.pairs.items()}
    case.traces[files.manifest.fingerprint].add(classes, touched, pairs, pairs)
    scored = pairs
    for link in links_before(files.manifest):
        classes, touched = (numbers_before(labels, link["labels"]) for labels in (classes, touched))
        pairs = {name: numbers_before(numbers, link["pairs"].get(name, ())) for name, numbers in pairs.items()}
        case.traces[link["fingerprint"]].add(classes, touched, pairs, scored)


class DataSets(Place):
    """Training images, visibility pairs and verification pairs of every data set in the store."""

    name = "data sets"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._found: dict[str, tuple[StoredFiles, SetFound]] = {}

    def search(self) -> list[Item]:
        store, person = self.case.store, self.case.person
        opened = [StoredFiles(m, store, self.case.scratch / "sets") for m in manifests_of(store)]
        for files in opened:
            learn_images(files, person)
        known = -1
        while known < len(person.pixels):  # each set may show images that tell the person in another
            known = len(person.pixels)
            for files in opened:
                learn_pixels(files, person)
        for files in opened:
            self._search_one(files)
        return [item for files, found in self._found.values() for item in _items(store, files.manifest, found)]

    def _search_one(self, files: StoredFiles) -> None:
        manifest, case = files.manifest, self.case
        self.looked_at += len(manifest.files)
        case.known_sets |= {manifest.fingerprint, *(link["fingerprint"] for link in links_before(manifest))}
        found = search_set(files, case.person)
        where = case.store.url(manifest_key(manifest.fingerprint))
        if found.nameless and case.person.names:
            sets = ", ".join(found.nameless)
            why = f"verification sets {sets} do not say whom they show: known images alone were looked for in them"
            self.remains.append(Remainder(where, why))
        if not found:
            shutil.rmtree(files.scratch, ignore_errors=True)
            return
        self._found[manifest.fingerprint] = (files, found)
        note_traces(case, files, found)

    def erase(self) -> list[Change]:
        changes = []
        for fingerprint, (files, found) in self._found.items():
            folder = self.case.scratch / "new" / fingerprint
            made = SetRewriter(files, found, self.case.person, folder).write()
            self._put(made, folder)
            for name in found.pairs:
                if name in made.verification:
                    digest = pairs_digest(folder / "verification", name)
                    for before in (fingerprint, *(link["fingerprint"] for link in links_before(files.manifest))):
                        self.case.traces[before].digests[name] = digest
            self.case.successors[fingerprint] = made.fingerprint
            key = manifest_key(made.fingerprint)
            item = Item(self.case.store.url(key), "a data set without the person, in place of " + fingerprint)
            changes.append(Change(item, hashlib.sha256(made.to_json().encode()).hexdigest()))
            shutil.rmtree(folder)
        return changes

    def _put(self, made: Manifest, folder: Path) -> None:
        store = self.case.store
        with lease(store, COMMITTING, kept=True) as held:
            for file in made.files:
                if (folder / file.path).is_file():
                    store.put_file(folder / file.path, file.key)
            held.require()
            store.write_bytes(manifest_key(made.fingerprint), made.to_json().encode())


class OldContent(Place):
    """Manifests of the data sets that held the person, and content that no manifest names."""

    name = "old data sets"

    def search(self) -> list[Item]:
        manifests = {manifest.fingerprint: manifest for manifest in manifests_of(self.case.store)}
        return [
            Item(self.case.store.url(manifest_key(fingerprint)), "the data set as it was", _digest(manifest))
            for fingerprint, manifest in manifests.items()
            if fingerprint in self.case.traces and fingerprint not in self.case.successors.values()
        ]

    def erase(self) -> list[Change]:
        store, changes = self.case.store, []
        for item in self.search():
            store.delete(item.where.removeprefix(f"{store.uri}/"))
            changes.append(Change(item, None))
        with lease(store, COMMITTING, kept=True) as held:
            needed = {file.key for manifest in manifests_of(store) for file in manifest.files}
            for info in list(store.list(f"{CONTENT}/")):
                self.looked_at += 1
                if info.key not in needed:
                    held.require()
                    store.delete(info.key)
                    sha256 = info.key.rpartition("/")[2]
                    changes.append(Change(Item(store.url(info.key), "content that no data set names", sha256), None))
        return changes


def pairs_digest(folder: Path, name: str) -> str:
    """Return the digest by which evaluations tell a verification set."""
    from oaml_core.data.prepared.verification import open_verification
    from oaml_core.evaluation.scoring.identities import identities_of

    return identities_of(open_verification(folder, name)).digest


def _digest(manifest: Manifest) -> str:
    return hashlib.sha256(manifest.to_json().encode()).hexdigest()


def _items(store: Store, manifest: Manifest, found: SetFound) -> list[Item]:
    counted = {
        "training images": sum(map(len, found.train.values())),
        "identities": len(found.classes),
        "visibility pairs": len(found.visibility_pairs),
        **{f"pairs of {name}": int(gone.sum()) for name, gone in found.pairs.items()},
        "texts with the name": len(found.texts),
    }
    where = store.url(manifest_key(manifest.fingerprint))
    return [Item(where, f"{count:,} {what}", _digest(manifest)) for what, count in counted.items() if count]
