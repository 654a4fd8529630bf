"""Galleries: people and faces leave their files, which overwrite what is deleted."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from oaml_core.amounts import amount
from oaml_core.errors import DataError
from oaml_core.forgetting.place import Case, Change, Item, Place, Remainder
from oaml_core.forgetting.trees import FolderTree, StoreTree
from oaml_core.inference.gallery.database import EnrolledFace, Gallery
from oaml_core.store.local_file import sha256_of

ENDING = ".gallery"


class Galleries(Place):
    """Galleries that are named, those below `work_dir` and further folders, and copies in the store."""

    name = "galleries"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._store = StoreTree(case.store, case.scratch)

    def search(self) -> list[Item]:
        items = []
        for where, path, _ in self._files():
            self.looked_at += 1
            try:
                count = len(self._faces(path))
            except DataError as error:
                self.remains.append(Remainder(where, f"it cannot be read as a gallery: {error}"))
                continue
            if count or self._people(path):
                items.append(Item(where, amount(count, "enrolled face"), sha256_of(path)))
        return items

    def erase(self) -> list[Change]:
        changes = []
        for where, path, key in self._files():
            try:
                faces, people = self._faces(path), self._people(path)
            except DataError:
                continue
            if not faces and not people:
                continue
            before = sha256_of(path)
            with Gallery(path) as gallery:
                for number in faces:
                    gallery.remove_face(number)
                for name in people & {person.name for person in gallery.people()}:
                    gallery.remove_person(name)
            if key is not None:
                self._store.replace(key, path)
            changes.append(Change(Item(where, amount(len(faces), "enrolled face"), before), sha256_of(path)))
        return changes

    def _files(self) -> Iterator[tuple[str, Path, str | None]]:
        """Yield every gallery: where it is, a local file, and its key if it is an object of the store."""
        folders = [self.case.work, *self.case.folders]
        below = [folder / key for folder in folders for key in FolderTree(folder).keys((ENDING,))]
        scratch = self.case.scratch.resolve()
        local = {path.resolve(): path for path in (*self.case.galleries, *below) if path.is_file()}
        for resolved, path in local.items():
            if scratch not in resolved.parents:
                yield str(path), path, None
        for key in list(self._store.keys((ENDING,))):
            copy = self.case.scratch / "gallery"
            shutil.copyfile(self._store.fetch(key), copy)
            yield self._store.where(key), copy, key
            copy.unlink()

    def _people(self, path: Path) -> set[str]:
        with Gallery(path) as gallery:
            return {person.name for person in gallery.people() if self.case.person.is_meant(person.name)}

    def _faces(self, path: Path) -> list[int]:
        with Gallery(path) as gallery:
            return [key for key, face in gallery.faces().items() if self._shows(gallery, key, face)]

    def _shows(self, gallery: Gallery, key: int, face: EnrolledFace) -> bool:
        person = self.case.person
        if person.is_meant(face.person) or face.digest in person.files or person.is_in_path(face.source):
            return True
        kept = gallery.image(key) if face.kept else None
        return kept is not None and hashlib.sha256(kept).hexdigest() in person.files
