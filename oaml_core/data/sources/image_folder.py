"""Training sets with one folder per identity: `<source>/anna/01.jpg`, or `<source>/train/anna/01.jpg`.

Where one folder alone holds images, and those in folders of their own, as in unpacked archives (`faces/anna/01.jpg`)
and in AdaFace's `imgs/`, the identities are the folders in it.

Landmarks are picked up from `<source>/train_meta.json`: `{"landmarks_by_path": {"anna/01.jpg": [[x, y] × 5], …}}`, in
pixels, in the order left eye, right eye, nose, left and right mouth corner as they appear in the image; paths are
relative to the source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np

from oaml_core.amounts import amount, first_of
from oaml_core.counted_entries import Counted
from oaml_core.data.sources.base import Ints, SourceFolder, TrainingSource
from oaml_core.data.sources.meta import landmarks_of, read_meta, unknown_images
from oaml_core.decoding.formats import IMAGE_SUFFIXES
from oaml_core.errors import DataError
from oaml_core.folder_entries import ARCHIVES, OF_NOBODY, shown
from oaml_core.printable_names import composed

TRAIN = "train/"
RESERVED = frozenset({"verification", "visibility", "kept_faces", "masks"})
"""Folders beside the identities that are none."""


class ImageFileSource(TrainingSource):
    """Images that are files of their own, each with the name of its identity."""

    def __init__(self, folder: SourceFolder, names: Sequence[str], identities: Sequence[str]) -> None:
        self.folder = folder
        self.names = names
        self.notes: list[str] = []
        self.used: set[str] = set(names)
        people = np.array([composed(name) for name in identities], dtype=np.str_)
        unique, numbers = np.unique(people, return_inverse=True)
        self.identities = unique
        self.labels = numbers.astype(np.int64)
        self.readers = folder.readers
        known = read_meta(folder).get("landmarks_by_path", {})
        self.landmarks = landmarks_of(folder, known, names, len(names))
        self.notes += unknown_images(folder, known, names)

    def read(self, index: int) -> bytes:
        return self.folder.read(self.names[index])

    def name(self, index: int) -> str:
        return self.names[index]

    def identity_name(self, label: int) -> str:
        return str(self.identities[label])

    def find(self, wanted: Sequence[str]) -> Ints:
        numbers = {name: number for number, name in enumerate(self.names)}
        unknown = next((name for name in wanted if name not in numbers), None)
        if unknown is not None:
            raise DataError(f"data.subset names {unknown!r}, which is no training image of {self.folder.uri}.")
        return np.array([numbers[name] for name in wanted], dtype=np.int64)


class ImageFolderSource(ImageFileSource):
    """One folder per identity; files in its sub-folders belong to it, other files than images are passed over."""

    kind = "image_folder"

    def __init__(self, folder: SourceFolder) -> None:
        self.below = identities_below(folder.files)
        names, identities = [], []
        others: dict[str, list[str]] = {}
        beside: set[str] = set()
        again = folder.names_of_one(self.below)
        read_as: dict[str, str] = {}
        repeated: list[str] = []
        for name in folder.files:
            path = PurePosixPath(name)
            if not name.startswith(self.below):
                continue
            parts = path.parts[self.below.count("/") :]
            if len(parts) < 2 or parts[0] in RESERVED:
                continue
            if parts[0] in again:
                read_as[parts[0]] = again[parts[0]]
                repeated.append(name)
                continue
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                others.setdefault(path.suffix.lower() or "no ending", []).append(name)
                beside.add(parts[0])
                continue
            names.append(name)
            identities.append(parts[0])
        if not names:
            raise DataError(
                f"{folder.uri} holds neither train.rec nor train.csv nor train.parquet nor .tar shards nor one folder "
                f"per identity with images in it. Name the folder that does as data.source.{_unusable(folder)}"
            )
        super().__init__(folder, names, identities)
        self.used.update(repeated, *others.values())
        self.notes += [*_read_once(read_as), *_other_files(others)]
        self.notes += [*_vanished(beside - set(identities)), *_links_as_text(folder)]
        if len(self.identities) == 1 and len(names) > 1:
            self.notes.append(_one_person(folder.files, f"{self.below}{identities[0]}"))
        if self.below not in ("", TRAIN):
            self.notes.append(f"all images lie below {self.below}: each folder in it is taken for one person")

    def folder_order(self) -> Ints:
        def key(number: int) -> tuple[str, str, str]:
            folder, _, file = self.names[number].rpartition("/")
            return self.identity_name(int(self.labels[number])), folder, file

        return np.array(sorted(range(len(self)), key=key), dtype=np.int64)


def identities_below(files: Iterable[str]) -> str:
    """Return the folder in which the folders of identities lie, with a slash at its end; empty: the source itself.

    Args:
        files: names in the source.
    """
    images = [name for name in files if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES]
    start = TRAIN if any(name.startswith(TRAIN) for name in files) else ""
    below = start
    while True:
        inside = [rest for name in images if (rest := name.removeprefix(below)) != name or not below]
        folders = {rest.partition("/")[0] for rest in inside if "/" in rest} - RESERVED
        if below != start and any("/" not in rest for rest in inside):
            return start  # images beside folders: a person with folders for some of them
        if len(folders) != 1:
            return below if len(folders) > 1 else start
        below += f"{folders.pop()}/"


def only_folder(files: Iterable[str]) -> str:
    """Return the folder in which all images of a source lie, with a slash at its end; empty if there are several."""
    images = (PurePosixPath(name) for name in files if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES)
    folders = {path.parent.as_posix() for path in images}
    return f"{folders.pop()}/" if len(folders) == 1 and "." not in folders else ""


def _one_person(files: Iterable[str], name: str) -> str:
    """Say that all images are of one person, and of lists that may say otherwise."""
    lists = [file for file in files if PurePosixPath(file).suffix.lower() in LISTS_OF_LABELS and "/" not in file]
    beside = f" ({first_of(map(shown, sorted(lists)))})" if lists else ""
    return (
        f"all images lie in the folder {shown(name)!r}, and so are of one person. Make a folder per person; or call a "
        f"list of image and person{beside} train.txt, or train.csv with the columns path and identity"
    )


def _unusable(folder: SourceFolder) -> str:
    """Say what lies there and is not used, as the end of an error message."""
    endings = Counter(PurePosixPath(name).suffix.lower() or "without ending" for name in folder.files)
    most = [f"{number:,} {ending}" for ending, number in endings.most_common(MOST_ENDINGS)]
    files = [f" Files that lie there: {', '.join(most)}{', …' if len(endings) > len(most) else ''}."] if most else []
    archives = [name for name in folder.files if PurePosixPath(name).suffix.lower() in ARCHIVES]
    files += [f" Unpack {first_of(sorted(archives))}." for _ in archives[:1]]
    if TABLES & endings.keys():
        files.append(" Call a table train.parquet or train.csv: it has the columns identity and image or path.")
    names = [PurePosixPath(name) for name in folder.files]
    if loose := sum(name.suffix.lower() in IMAGE_SUFFIXES for name in names):
        files.append(
            f" {amount(loose, 'image lies', 'images lie')} in no folder of a person: move each into one, or list them "
            "in train.csv with the columns path and identity."
        )
    if any(name.suffix.lower() in CONTAINERS for name in names):
        files.append(" Containers of other tools are not read: write their images as files, one folder per person.")
    if not loose and any(not name.suffix for name in names):
        files.append(" Images are known by their endings: give them .jpg, .png or what they are.")
    counted = Counted()
    for entry in folder.passed_over:
        if entry.reason is not None and entry.reason not in OF_NOBODY:
            counted.add(entry.reason, entry.name)
    return "".join([*files, *(f" {sentence}." for sentence in counted.sentences("passed over"))])


TABLES = frozenset({".csv", ".tsv", ".parquet", ".feather", ".arrow", ".xlsx", ".xls", ".ods", ".jsonl"})
"""Endings of tables that may list or hold images."""
CONTAINERS = frozenset(
    {".h5", ".hdf5", ".mat", ".mdb", ".npy", ".npz", ".pkl", ".pickle", ".pt", ".tfrecord", ".beton", ".001"}
)
"""Endings of files of other tools that may hold images, and of parts of an archive."""
LISTS_OF_LABELS = TABLES | {".txt", ".lst"}
MOST_ENDINGS = 4
LONGEST_LINK = 1024
"""Bytes of a file at the top of the source that may be the target of a link."""


def _links_as_text(folder: SourceFolder) -> list[str]:
    """Name files at the top that hold the path of a link: what copying without links leaves of a linked identity."""
    found: list[tuple[str, str]] = []
    for name in folder.files:
        if "/" in name or PurePosixPath(name).suffix or folder.files[name].size > LONGEST_LINK:
            continue
        target = folder.read(name).decode("utf-8", errors="replace").strip()
        if "/" in target and "\n" not in target:
            found.append((name, target))
    if not found:
        return []
    name, target = found[0]
    return [
        f"{amount(len(found), 'file at the top holds', 'files at the top hold')} the path of a link in place of an "
        f"identity; the first is {name!r} "
        f"({target!r}). Copy the source again with its links, for example by `cp -a` or `rsync -a`"
    ]


def _read_once(read_as: Mapping[str, str]) -> list[str]:
    """Name links to folders of people who are read under another name.

    Args:
        read_as: name of the folder that is read, by the link's.
    """
    if not read_as:
        return []
    lead = amount(len(read_as), "link leads to a folder that is", "links lead to folders that are")
    named = first_of(f"{shown(link)!r} is {shown(name)!r}" for link, name in read_as.items())
    return [
        f"{lead} read under another name, and each counts as one person ({named}). Where they are two people, let the "
        "link lead to the other's folder; else remove it"
    ]


def _other_files(others: Mapping[str, Sequence[str]]) -> list[str]:
    """Say how many files of identities are no image that is read, by their ending."""
    return [
        f"{amount(len(names), 'file is', 'files are')} passed over, as {ending} is no image ending that is read; the "
        f"first is {names[0]}. {'Unpack them' if ending in ARCHIVES else 'Convert images among them to JPEG or PNG'}"
        for ending, names in sorted(others.items())
    ]


def _vanished(identities: Iterable[str]) -> list[str]:
    names = sorted(identities)
    if not names:
        return []
    left = amount(len(names), "identity is", "identities are")
    return [f"{left} left out, as none of their files is read: {first_of(names)}"]
