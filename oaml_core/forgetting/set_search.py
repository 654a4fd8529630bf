"""What of a person is in one data set: records, identities, pairs of faces and masks, verification pairs, texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from oaml_core.data.prepare.forgotten import digest_of_pixels
from oaml_core.data.prepared.memfile import open_memfile
from oaml_core.forgetting.person import Person
from oaml_core.forgetting.set_files import SetFiles, mapped, records_of

Offsets = dict[int, set[int]]
"""Places of records by part."""


@dataclass
class SetFound:
    """The traces of the person in one data set."""

    train: Offsets = field(default_factory=lambda: defaultdict(set))
    visibility: Offsets = field(default_factory=lambda: defaultdict(set))
    """Faces, and the masks that go with them."""
    visibility_pairs: set[int] = field(default_factory=set)
    classes: set[int] = field(default_factory=set)
    """Labels of which no image is left."""
    touched: set[int] = field(default_factory=set)
    """Labels of which some images are left."""
    rows: set[int] = field(default_factory=set)
    """Training images that go."""
    pairs: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    """bool [N], True for a pair that goes, by verification set."""
    texts: list[str] = field(default_factory=list)
    """Files that name the person."""
    nameless: list[str] = field(default_factory=list)
    """Verification sets that do not say whom they show."""

    def __bool__(self) -> bool:
        return bool(self.train or self.visibility or self.classes or self.pairs or self.texts)


def learn_images(files: SetFiles, person: Person) -> None:
    """Take all training images under a name of the person, so that they are known wherever else they are."""
    rows = np.flatnonzero(np.isin(files.index("train/labels.npy"), _labels_of(files, person)))
    if not len(rows):
        return
    parts, offsets = (files.index(f"train/{name}.npy")[rows] for name in ("parts", "offsets"))
    for part in np.unique(parts).tolist():
        path = f"train/part-{part:05d}.rec"
        with mapped(files.fetch(path)) as content:
            for record in records_of(content, set(offsets[parts == part].tolist())):
                person.add_image(record.image)


def learn_pixels(files: SetFiles, person: Person) -> None:
    """Take all verification images that show the person by name, or beside a known image by the person's number."""
    for name, rows in _verification_rows(files, person).items():
        images = open_memfile(files.fetch(f"verification/{name}.dat"))
        person.pixels.update(digest_of_pixels(np.asarray(images[row])) for row in rows)


def search_set(files: SetFiles, person: Person) -> SetFound:
    """Return what a data set holds of a person whose images are known."""
    found = SetFound()
    wanted = {bytes.fromhex(digest)[:16] for digest in person.files}
    found.train = _records(files, "train", wanted)
    _search_training(files, person, found)
    found.visibility = _records(files, "visibility", wanted)
    _search_visibility(files, person, found)
    for name, rows in _verification_rows(files, person, found.nameless).items():
        gone = np.zeros(files.manifest.verification[name], dtype=bool)
        gone[np.array(sorted(rows)) // 2] = True
        found.pairs[name] = gone
    found.texts = [path for path in ("checks.json", "visibility/names.json") if _names(files, path, person)]
    if any(person.mentions(text) for text in files.manifest.warnings):
        found.texts.append("manifest.json")
    return found


def _labels_of(files: SetFiles, person: Person) -> list[int]:
    return [label for label, name in enumerate(files.manifest.identities) if person.is_meant(name)]


def _records(files: SetFiles, kind: str, wanted: Set[bytes]) -> Offsets:
    """Return places of all records with these images; of records that no index names, too."""
    found: Offsets = defaultdict(set)
    if not wanted:
        return found
    for file in files.parts(kind):
        with mapped(files.fetch(file.path)) as content:
            places = {record.offset for record in records_of(content) if record.digest in wanted}
        if places:
            found[int(PurePosixPath(file.path).stem.removeprefix("part-"))] = places
        else:
            files.drop(file.path)
    return found


def _search_training(files: SetFiles, person: Person, found: SetFound) -> None:
    labels, parts, offsets = (files.index(f"train/{name}.npy") for name in ("labels", "parts", "offsets"))
    gone = np.isin(labels, _labels_of(files, person)) | _at(parts, offsets, found.train)
    for part, offset in zip(parts[gone].tolist(), offsets[gone].tolist(), strict=True):
        found.train[part].add(offset)
    found.rows = set(np.flatnonzero(gone).tolist())
    left = set(labels[~gone].tolist())
    found.classes = set(labels[gone].tolist()) - left
    found.touched = set(labels[gone].tolist()) & left


def _search_visibility(files: SetFiles, person: Person, found: SetFound) -> None:
    if not files.manifest.visibility_pairs:
        return
    parts, offsets = (files.index(f"visibility/{name}.npy") for name in ("parts", "offsets"))
    names: list[str] = files.document("visibility/names.json", list)
    gone = _at(parts[:, 0], offsets[:, 0], found.visibility)
    gone |= np.array([person.is_in_path(name) for name in names], dtype=bool)
    for part, offset in zip(parts[gone].ravel().tolist(), offsets[gone].ravel().tolist(), strict=True):
        found.visibility[part].add(offset)
    found.visibility_pairs = set(np.flatnonzero(gone).tolist())


def _at(parts: NDArray[np.int64], offsets: NDArray[np.int64], places: Offsets) -> NDArray[np.bool_]:
    gone = np.zeros(len(parts), dtype=bool)
    for part, wanted in places.items():
        gone |= (parts == part) & np.isin(offsets, list(wanted))
    return gone


def _verification_rows(files: SetFiles, person: Person, nameless: list[str] | None = None) -> dict[str, list[int]]:
    """Return rows of every verification set that show the person."""
    manifest, found = files.manifest, {}
    for name in manifest.verification:
        files.fetch(f"verification/{name}.dat.conf")
        images = open_memfile(files.fetch(f"verification/{name}.dat"))
        people_path = f"verification/{name}_people.json"
        people = files.document(people_path, dict) if people_path in files.by_path else None
        if people is None and nameless is not None:
            nameless.append(name)
        numbers = files.array(f"verification/{name}_identities.npy")
        if rows := rows_showing(person, images, numbers, people, manifest.channel_order):
            found[name] = rows
        else:
            files.drop(f"verification/{name}.dat")
    return found


def rows_showing(
    person: Person,
    images: NDArray[np.uint8],
    numbers: NDArray[np.generic] | None,
    people: Mapping[str, Any] | None,
    channel_order: Literal["rgb", "bgr"],
) -> list[int]:
    """Return rows of verification images that show the person, by their pixels, or by the number of who they show.

    Args:
        person: whose images are known.
        images: [2N, H, W, 3], of N pairs.
        numbers: [2N], of who is shown; None: not known.
        people: names by number; None: not known.
        channel_order: order that images may have been read in, beside RGB.
    """
    size = images.shape[1]
    wanted = person.pixels_at(size, "rgb") | person.pixels_at(size, channel_order)
    gone = np.zeros(len(images), dtype=bool)
    if wanted:
        gone |= np.array([digest_of_pixels(np.asarray(image)) in wanted for image in images])
    if numbers is not None and person.names:
        theirs = {int(number) for number, known in (people or {}).items() if person.is_meant(known)}
        gone |= np.isin(numbers, [*theirs, *np.unique(numbers[gone]).tolist()])
    return np.flatnonzero(gone).tolist()


def _names(files: SetFiles, path: str, person: Person) -> bool:
    return path in files.by_path and person.mentions(files.fetch(path).read_text())
