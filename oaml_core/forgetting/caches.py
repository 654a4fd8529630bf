"""What machines keep to be faster: copies of data sets and sources, checksums by path, sheets of samples."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath

from oaml_core.amounts import amount
from oaml_core.data.prepare.shard_files import SHARDS
from oaml_core.data.prepared.manifest import MANIFEST, parse_manifest
from oaml_core.data.prepared.prepared import DATASETS
from oaml_core.data.sources.aligned import FOLDER
from oaml_core.errors import OamlError
from oaml_core.folder_entries import folders_in
from oaml_core.forgetting.data_sets import note_traces
from oaml_core.forgetting.place import Case, Change, Item, Place, Remainder
from oaml_core.forgetting.set_files import LocalFiles
from oaml_core.forgetting.set_search import search_set
from oaml_core.forgetting.trees import FolderTree, StoreTree, Tree
from oaml_core.sqlite_damage import BUSY_SECONDS, is_damage
from oaml_core.store.cache import LOCKS, LocalCache
from oaml_core.store.local_file import sha256_of

SAMPLES = ("samples.png",)
HAS_CHECKSUMS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'checksum'"
TRACKED = "samples-"
"""Begins the names of files that say which samples each worker consumed."""


class Copies(Place):
    """Local copies of data sets that hold the person, and of sources."""

    name = "local copies of data sets"

    def search(self) -> list[Item]:
        items = []
        for folder in self._folders():
            self.looked_at += 1
            if self._holds(folder):
                items.append(Item(str(folder), "a copy of a data set"))
        for name, what in (("fetched", "copies of files of a source"), (FOLDER, "faces cut out of photographs")):
            if (folder := self.case.work / name).is_dir():
                items.append(Item(str(folder), what))
        shared = self.case.work / SHARDS
        if shared.is_dir() and any(not key.endswith(".lock") for key in FolderTree(shared).keys(("",))):
            items.append(Item(str(shared), "parts and listings of a shared preparation that was killed"))
        return items

    def _folders(self) -> list[Path]:
        top = self.case.work / DATASETS
        # An entry that is being made or removed begins with a dot.
        return [path for path in folders_in(top, any_name=True) if path.name != LOCKS] if top.is_dir() else []

    def _holds(self, folder: Path) -> bool:
        """Return True if a copy holds the person, or is incomplete, so that nobody can say."""
        if folder.name in self.case.traces:
            return True
        if folder.name in self.case.known_sets:
            return False
        try:
            path = folder / MANIFEST
            files = LocalFiles(parse_manifest(path.read_bytes(), str(path)), folder)
            found = search_set(files, self.case.person)
        except (OSError, OamlError):
            return True
        if found:
            note_traces(self.case, files, found)
        return bool(found)

    def erase(self) -> list[Change]:
        changes = []
        cache = LocalCache(self.case.work / DATASETS, None)
        for item in self.search():
            folder = Path(item.where)
            if folder.parent.name != DATASETS or folder.name.startswith("."):
                shutil.rmtree(folder, ignore_errors=True)
            elif not cache.remove(folder.name):
                why = "a process of this machine uses it; run the same command again when that has ended"
                self.remains.append(Remainder(item.where, why))
                continue
            changes.append(Change(item, None))
        return changes


class Samples(Place):
    """Sheets of training images, and lists of the samples that workers consumed."""

    name = "tracked samples"

    def search(self) -> list[Item]:
        return [
            Item(str(tree.folder / key), "training images or their numbers", sha256_of(tree.fetch(key)))
            for tree, key in self._files()
        ]

    def erase(self) -> list[Change]:
        items = self.search()
        for tree, key in list(self._files()):
            tree.delete(key)
        return [Change(item, None) for item in items]

    def _files(self) -> Iterator[tuple[FolderTree, str]]:
        for folder in (self.case.work, *self.case.folders):
            tree = FolderTree(folder, (self.case.scratch, self.case.work / DATASETS))
            for key in tree.keys((*SAMPLES, ".jsonl")):
                name = PurePosixPath(key).name
                if (name in SAMPLES or name.startswith(TRACKED)) and self.case.traces:
                    self.looked_at += 1
                    yield tree, key


class Checksums(Place):
    """Paths and checksums of a source's files, here and in the store; paths name people."""

    name = "checksums of sources"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        aside = (case.scratch, case.work / DATASETS)
        self._trees: list[Tree] = [StoreTree(case.store, case.scratch), FolderTree(case.work, aside)]

    def search(self) -> list[Item]:
        items = []
        for tree, key in self._files():
            self.looked_at += 1
            if count := len(self._rows(tree, key)):
                items.append(
                    Item(tree.where(key), f"{amount(count, 'path')} with checksums", sha256_of(tree.fetch(key)))
                )
        return items

    def _files(self) -> Iterator[tuple[Tree, str]]:
        for tree in self._trees:
            yield from ((tree, key) for key in list(tree.keys((".sqlite",))))

    def _rows(self, tree: Tree, key: str) -> list[str]:
        """Return the paths of the person that a file names; what cannot be read is a remainder."""
        try:
            with closing(sqlite3.connect(tree.fetch(key), timeout=BUSY_SECONDS)) as database:
                if not database.execute(HAS_CHECKSUMS).fetchall():
                    return []  # another kind of file
                rows = database.execute("SELECT path, sha256 FROM checksum").fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if isinstance(error, UnicodeDecodeError) or is_damage(error):
                why = f"it cannot be read as SQLite ({error}), so nobody can say whom it names; remove it"
            else:
                why = f"it could not be looked at ({error}); run the same command again when no other process uses it"
            self.remains.append(Remainder(tree.where(key), why))
            return []
        person = self.case.person
        return [name for name, sha256 in rows if sha256 in person.files or person.is_in_path(name)]

    def erase(self) -> list[Change]:
        changes = []
        for tree, key in self._files():
            if not (rows := self._rows(tree, key)):
                continue
            source = tree.fetch(key)
            before = sha256_of(source)
            copy = self.case.scratch / "checksums.sqlite"
            shutil.copyfile(source, copy)
            with closing(sqlite3.connect(copy)) as database:
                database.execute("PRAGMA secure_delete = ON")
                database.executemany("DELETE FROM checksum WHERE path = ?", [(row,) for row in rows])
                database.commit()
                database.execute("VACUUM")
            tree.replace(key, copy)
            changes.append(
                Change(Item(tree.where(key), f"{amount(len(rows), 'path')} with checksums", before), sha256_of(copy))
            )
            copy.unlink()
        return changes
