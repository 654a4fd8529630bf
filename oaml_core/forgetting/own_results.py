"""Local results of evaluations of files that are no data set: folders of faces, pair lists and `.bin` sets."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from oaml_core.array_files import read_array, read_arrays
from oaml_core.data.prepared.memfile import open_memfile
from oaml_core.data.prepared.verification import people_file
from oaml_core.errors import DataError, OamlError
from oaml_core.folder_entries import folders_in
from oaml_core.forgetting.place import Change, Item, Place, Remainder
from oaml_core.forgetting.set_search import rows_showing
from oaml_core.forgetting.trees import FolderTree
from oaml_core.structured_text import json_or_none, parse_json

OWN, SETS, BACKBONES = "own", "sets", "backbones"
"""Folders of `work_dir`: results of one's own faces, images of pair lists, results of published weights."""
MATRICES, IMAGES, METRICS = "similarity.npz", ".dat", "metrics.json"
UNFINISHED = ".faces-"
"""Begins the names of folders with features, which a process removes unless it is killed."""
REMEDY = "Remove its folder; `oaml evaluate` makes it again."


class OwnResults(Place):
    """Matrices, images and reports of evaluations that show the person: each such folder goes as a whole.

    Their reports have pictures of pairs without names, and the evaluation can be made again without the person.
    """

    name = "evaluations of files"

    def search(self) -> list[Item]:
        return [Item(str(folder), what) for folder, what in self._folders()]

    def erase(self) -> list[Change]:
        changes = []
        for folder, what in list(self._folders()):
            shutil.rmtree(folder, ignore_errors=True)
            changes.append(Change(Item(str(folder), what), None))
        return changes

    def _folders(self) -> Iterator[tuple[Path, str]]:
        """Yield the folders that go: reports before the images by which they are found."""
        for top in (self.case.work, *self.case.folders):
            for folder in _in(top / OWN):
                self.looked_at += 1
                if self._shows_person(folder):
                    yield folder, "an evaluation of files that show the person"
                else:
                    left = [path for path in folders_in(folder, any_name=True) if path.name.startswith(UNFINISHED)]
                    yield from ((path, "features that a killed process left") for path in left)
            sets = []
            for folder in _in(top / SETS):
                self.looked_at += 1
                if self._shows_person(folder):
                    sets.append((folder, "images of pair lists that show the person"))
            if sets:
                yield from ((f, "an evaluation of pair lists, perhaps of these") for f in self._of_lists(top))
            yield from sets

    def _of_lists(self, top: Path) -> Iterator[Path]:
        """Yield results of published weights on pairs of no data set: nobody can say which lists they are of."""
        for folder in _in(top / BACKBONES):
            path = folder / METRICS
            metrics = json_or_none(path.read_bytes()) if path.is_file() else None
            context = metrics.get("context") if isinstance(metrics, dict) else None
            known = context.get("dataset_fingerprint") if isinstance(context, dict) else None
            if known not in self.case.known_sets and known not in self.case.traces:
                yield folder

    def _shows_person(self, folder: Path) -> bool:
        """Return True if a folder shows the person, or has a file that cannot be read, so that nobody can say."""
        files = [folder / name for name in FolderTree(folder).keys((MATRICES, IMAGES))]
        try:
            return any(
                (path.name == MATRICES and self._has_matrix(path)) or (path.suffix == IMAGES and self._has_images(path))
                for path in files
            )
        except (OSError, OamlError):
            return True

    def _has_matrix(self, path: Path) -> bool:
        person = self.case.person
        found = read_arrays(path, str(path), REMEDY, DataError)
        names, people, digests = (
            found[key].tolist() if key in found else [] for key in ("names", "identities", "sha256")
        )
        if not digests:
            why = "an evaluation by an earlier version: its images are known by their names alone"
            self.remains.append(Remainder(str(path), why))
        return (
            any(map(person.is_in_path, names))
            or any(map(person.is_meant, people))
            or not person.files.isdisjoint(digests)
        )

    def _has_images(self, path: Path) -> bool:
        numbers, named = path.with_name(f"{path.stem}_identities.npy"), people_file(path.parent, path.stem)
        people: dict[str, Any] | None = None
        if named.is_file():
            people = parse_json(named.read_bytes(), str(named), REMEDY, DataError)
        else:
            self.remains.append(Remainder(str(path), "a set without names: it was searched for known images only"))
        identities = read_array(numbers, str(numbers), REMEDY, DataError) if numbers.is_file() else None
        # How images were read is not said here: either order of the channels may be theirs.
        return bool(rows_showing(self.case.person, open_memfile(path), identities, people, "bgr"))


def _in(folder: Path) -> list[Path]:
    return folders_in(folder, any_name=True) if folder.is_dir() else []
