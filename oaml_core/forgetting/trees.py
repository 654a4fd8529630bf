"""Objects of a store and files below a folder, read and replaced alike."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from oaml_core.folder_entries import FolderEntry, files_below
from oaml_core.forgetting.place import Case
from oaml_core.store import Store
from oaml_core.store.local_file import appearing, sha256_of


class Tree(ABC):
    """Files of a folder or a store, by key."""

    @abstractmethod
    def keys(self, endings: tuple[str, ...]) -> Iterator[str]:
        """Yield keys with one of these endings, in order."""

    @abstractmethod
    def where(self, key: str) -> str:
        """Return the full address of a key."""

    @abstractmethod
    def fetch(self, key: str) -> Path:
        """Return a local file with the content, not to be changed."""

    @abstractmethod
    def replace(self, key: str, path: Path) -> None:
        """Give a key the content of another file, at once or not at all."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the file at `key`."""

    def has(self, key: str) -> bool:
        """Return True if there is such a key."""
        return key in self.keys((key,))


class StoreTree(Tree):
    """Objects of a store, but for data sets and what this package keeps there."""

    def __init__(self, store: Store, scratch: Path) -> None:
        self.store, self.scratch = store, scratch

    def keys(self, endings: tuple[str, ...]) -> Iterator[str]:
        own = ("datasets/", "forgotten/")
        yield from (i.key for i in self.store.list() if i.key.endswith(endings) and not i.key.startswith(own))

    def where(self, key: str) -> str:
        return self.store.url(key)

    def fetch(self, key: str) -> Path:
        path = self.scratch / "objects" / key
        self.store.get_file(key, path)
        return path

    def replace(self, key: str, path: Path) -> None:
        self.store.put_file(path, key)

    def delete(self, key: str) -> None:
        self.store.delete(key)

    def has(self, key: str) -> bool:
        return self.store.exists(key)


class FolderTree(Tree):
    """Files below a local folder; links that lead out of it are not followed."""

    def __init__(self, folder: Path, leave_out: tuple[Path, ...] = ()) -> None:
        self.folder, self.leave_out = folder, tuple(path.resolve() for path in leave_out)

    def keys(self, endings: tuple[str, ...]) -> Iterator[str]:
        for entry in files_below(self.folder, leave=False, any_name=True):
            wanted = entry.reason is None and entry.name.endswith(endings)
            if wanted and not any(entry.path.resolve().is_relative_to(aside) for aside in self.leave_out):
                yield entry.name

    def where(self, key: str) -> str:
        return str(self.folder / key)

    def fetch(self, key: str) -> Path:
        return self.folder / key

    def replace(self, key: str, path: Path) -> None:
        with appearing(self.folder / key) as new:
            shutil.copyfile(path, new)

    def delete(self, key: str) -> None:
        (self.folder / key).unlink(missing_ok=True)


def passed_over(folder: Path) -> list[FolderEntry]:
    """Return the entries below a folder that no place looks into, such as links that leave it."""
    return [entry for entry in files_below(folder, leave=False, any_name=True) if entry.reason is not None]


def trees_of(case: Case) -> list[Tree]:
    """Return everything that runs, reports and galleries may lie in: the store, `work_dir` and further folders."""
    store_folder = Path(case.store.uri.removeprefix("file://"))
    aside = (case.scratch, case.work / "datasets", case.work / "fetched", store_folder)
    folders = [case.work, *case.folders]
    return [StoreTree(case.store, case.scratch), *(FolderTree(folder, aside) for folder in folders)]


def digest(tree: Tree, key: str) -> str:
    """Return the SHA-256 of a key's content."""
    return sha256_of(tree.fetch(key))
