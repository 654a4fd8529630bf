"""One data set written again without a person: parts that held them, indices, pairs, texts, and a new manifest."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.data.prepare.outbox import content_key
from oaml_core.data.prepared.manifest import Manifest, ManifestFile
from oaml_core.data.prepared.without_pairs import leave_pairs_out
from oaml_core.forgetting.person import Person
from oaml_core.forgetting.set_files import SetFiles, without_records
from oaml_core.forgetting.set_search import Offsets, SetFound
from oaml_core.store.local_file import sha256_of

CHAIN = "forgotten_before"
"""Key of a manifest's settings: data sets that it was made from by leaving people out, and which labels went."""
DIGITS = 16
Moved = dict[int, dict[int, int]]
"""New offsets of records by part and old offset."""


class SetRewriter:
    """Writes a data set without a person into a folder.

    Args:
        files: the data set as it is.
        found: what of it goes.
        person: whose name is taken out of texts.
        folder: new and changed files go here.
    """

    def __init__(self, files: SetFiles, found: SetFound, person: Person, folder: Path) -> None:
        self.files, self.found, self.person, self.folder = files, found, person, folder
        self.changed: set[str] = set()
        self.removed: set[str] = set()

    def write(self) -> Manifest:
        """Write all files that change, and return the manifest of the new data set."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        old = self.files.manifest
        images = self._training()
        self._visibility()
        verification = dict(old.verification)
        for name, gone in self.found.pairs.items():
            verification[name] = self._pairs(name, gone)
        if "checks.json" in self.found.texts:
            self._save("checks.json").write_text(self.person.redact(self.files.fetch("checks.json").read_text()))
        kept = [name for label, name in enumerate(old.identities) if label not in self.found.classes]
        made = [f for f in old.files if f.path not in self.changed | self.removed]
        made += [_described(self.folder, path) for path in sorted(self.changed)]
        pairs = {name: np.flatnonzero(gone).tolist() for name, gone in self.found.pairs.items()}
        link = {"fingerprint": old.fingerprint, "labels": sorted(self.found.classes), "pairs": pairs}
        return replace(
            old,
            fingerprint=_fingerprint(old, made),
            images=images,
            identities=kept,
            verification={name: count for name, count in verification.items() if count},
            visibility_pairs=old.visibility_pairs - len(self.found.visibility_pairs),
            images_looked_at=old.images_looked_at - len(self.found.rows),
            warnings=[self.person.redact(text) for text in old.warnings],
            settings={**old.settings, CHAIN: [*old.settings.get(CHAIN, []), link]},
            files=sorted(made, key=lambda file: file.path),
        )

    def _save(self, path: str) -> Path:
        self.changed.add(path)
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _remove(self, path: str) -> None:
        self.changed.discard(path)
        self.removed.add(path)

    def _parts(self, kind: str, places: Offsets) -> Moved:
        moved: Moved = {}
        for part, gone in places.items():
            path = f"{kind}/part-{part:05d}.rec"
            target = self._save(path)
            moved[part] = without_records(self.files.fetch(path), target, gone)
            self.files.drop(path)
            if not moved[part]:
                self._remove(path)
        return moved

    def _training(self) -> int:
        if not self.found.train:
            return self.files.manifest.images
        moved = self._parts("train", self.found.train)
        labels = self.files.index("train/labels.npy")
        kept = np.ones(len(labels), dtype=bool)
        kept[list(self.found.rows)] = False
        self._offsets("train", kept, moved)
        used, contiguous = np.unique(labels[kept], return_inverse=True)
        assert len(used) == self.files.manifest.num_identities - len(self.found.classes)
        np.save(self._save("train/labels.npy"), contiguous.astype(np.int64))
        for name in ("sources", "landmarks"):
            self._selected(f"train/{name}.npy", kept)
        return int(kept.sum())

    def _visibility(self) -> None:
        if not self.found.visibility and "visibility/names.json" not in self.found.texts:
            return
        names: list[str] = self.files.document("visibility/names.json", list)
        kept = np.ones(len(names), dtype=bool)
        kept[list(self.found.visibility_pairs)] = False
        moved = self._parts("visibility", self.found.visibility)
        self._offsets("visibility", kept, moved)
        self._selected("visibility/validation.npy", kept)
        left = [self.person.redact(name) for name, stays in zip(names, kept, strict=True) if stays]
        self._save("visibility/names.json").write_text(json.dumps(left))
        if not left:
            for path in [path for path in self.files.by_path if path.startswith("visibility/")]:
                self._remove(path)

    def _offsets(self, kind: str, kept: NDArray[np.bool_], moved: Moved) -> None:
        """Write the index of the records that stay, with the places where they stand now."""
        parts, offsets = (self.files.index(f"{kind}/{name}.npy")[kept] for name in ("parts", "offsets"))
        for place in np.ndindex(parts.shape):
            if (new := moved.get(int(parts[place]))) is not None:
                offsets[place] = new[int(offsets[place])]
        np.save(self._save(f"{kind}/offsets.npy"), offsets)
        for name in ("parts", "sizes"):
            self._selected(f"{kind}/{name}.npy", kept)

    def _selected(self, path: str, kept: NDArray[np.bool_]) -> None:
        values = self.files.array(path)
        if values is not None:
            np.save(self._save(path), values[kept])

    def _pairs(self, name: str, gone: NDArray[np.bool_]) -> int:
        """Write a verification set without some of its pairs; return how many are left."""
        folder = self.folder / "verification"
        paths = list(_paths_of(name, self.files))
        for path in paths:
            shutil.copyfile(self.files.fetch(path), self._save(path))
        left = {f"verification/{file.name}" for file in leave_pairs_out(folder, name, gone)}
        for path in paths:
            if path not in left:
                self._remove(path)
        return int((~gone).sum())


def links_before(manifest: Manifest) -> list[dict[str, Any]]:
    """Return the data sets that this one was made from, newest first: `fingerprint`, and `labels` and `pairs` that
    went.
    """
    chain: list[dict[str, Any]] = manifest.settings.get(CHAIN, [])
    return chain[::-1]


def numbers_before(numbers: Iterable[int], gone: Iterable[int]) -> list[int]:
    """Return the numbers that things had before some of them went."""
    found = sorted(numbers)
    for removed in sorted(gone):  # each number at or above a removed one stood one higher
        found = [number + (number >= removed) for number in found]
    return found


def _paths_of(name: str, files: SetFiles) -> Iterator[str]:
    endings = (".dat", ".dat.conf", "_list.npy", "_landmarks.npy", "_identities.npy", "_people.json")
    yield from (path for ending in endings if (path := f"verification/{name}{ending}") in files.by_path)


def _described(folder: Path, path: str) -> ManifestFile:
    sha256 = sha256_of(folder / path)
    return ManifestFile(path, (folder / path).stat().st_size, sha256, content_key(sha256))


def _fingerprint(old: Manifest, files: list[ManifestFile]) -> str:
    """Name the new data set by what it was made from and what it holds: the same at every try."""
    lines = [old.fingerprint, *(f"{file.path} {file.sha256}" for file in sorted(files, key=lambda file: file.path))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:DIGITS]
