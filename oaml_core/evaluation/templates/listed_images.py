"""Images of IJB-B and IJB-C: whose template each is in, where its face is, and the folder that has them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from oaml_core.amounts import amount, first_of
from oaml_core.decoding.formats import IMAGE_SUFFIXES
from oaml_core.errors import DataError
from oaml_core.evaluation.templates.rosters import Floats, Ints, whole_number
from oaml_core.folder_entries import read_regular, shown
from oaml_core.printable_names import file_spelling

SEPARATORS = ("\t", ";", ",", "|")
"""Separators of lists that are not cut by blanks."""
IMAGE_FOLDERS = ("loose_crop", "images", ".")
READERS = 8
"""Images whose content is read at a time."""
AT_ONCE = 1_000
"""Images that are asked for before the digests of the first are taken in."""


def read_faces(file: Path) -> tuple[list[str], Ints, Ints, list[str]]:
    """Return names of the images, numbers of their templates and media, and a note on repeated lines."""
    names, numbers = [], []
    for where, fields in _lines(file, 3):
        names.append(fields[0])
        try:
            numbers.append((whole_number(fields[1]), whole_number(fields[2])))
        except ValueError:
            raise DataError(f"{where}: template and medium must be whole numbers.") from None
    if not names:
        raise DataError(f"{file} is empty.")
    both = np.array(numbers, dtype=np.int64)
    places = Counter(zip(names, both[:, 0].tolist(), strict=True))
    again = [place for place, count in places.items() if count > 1]
    notes = []
    if again:
        listed = amount(len(again), "image is", "images are")
        first = f"{shown(again[0][0])} in template {again[0][1]}"
        notes = [f"{listed} listed again in one template, the first is {first}: each counts as often as it is listed"]
    return names, both[:, 0], both[:, 1], notes


def read_points(file: Path, names: list[str], templates: Ints) -> tuple[Floats, Floats]:
    values = np.empty((len(names), 11), dtype=np.float32)
    count = 0
    for where, fields in _lines(file, 12):
        if count == len(names) or fields[0] != names[count]:
            expected = "no further image" if count == len(names) else names[count]
            raise DataError(f"{where} is of {shown(fields[0])}, but the list of templates has {expected} there.")
        try:
            values[count] = [float(field) for field in fields[1:]]
        except ValueError:
            raise DataError(f"{where}: after the image come ten coordinates and a score.") from None
        count += 1
    if count < len(names):
        raise DataError(f"{file} ends after {count} of {len(names)} images; copy it again.")
    if not np.isfinite(values).all():
        raise DataError(f"{file} has points or scores that are not finite; copy it again.")
    scores = values[:, 10]
    if (negative := np.flatnonzero(scores < 0)).size:
        raise DataError(f"{file} gives {shown(names[negative[0]])} a score below 0. Is its last column a score?")
    found, row = np.unique(templates, return_inverse=True)
    if (lost := np.flatnonzero(np.bincount(row, weights=scores) == 0)).size:
        raise DataError(
            f"{file} gives all images of template {found[lost[0]]} the score 0, so that nothing of it counts. Remove "
            "the template, or the list: images then count alike."
        )
    return values[:, :10].reshape(-1, 5, 2), values[:, 10]


def separator_of(line: str) -> str | None:
    """Return the separator of a list, by its first line; None: blanks or tabs."""
    return next((separator for separator in SEPARATORS if separator in line), None)


def _lines(file: Path, fields: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the place and the fields of each line that is not empty; cut by one of `SEPARATORS`, else by blanks."""
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                found = [field.strip() for field in line.split(separator_of(line))]
                if len(found) != fields:
                    found = line.split()
                if found and len(found) != fields:
                    raise DataError(
                        f"{file} line {number} has {amount(len(found), 'field')}, {fields} are expected, cut by blanks "
                        "or commas."
                    )
                if found:
                    yield f"{file} line {number}", found
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 ({error}); save it as UTF-8.") from None


def image_folder(folder: Path, names: list[str], present: set[str]) -> tuple[Path, tuple[str, ...]]:
    """Return the folder that has the images, and a note on those of no template; raises DataError if it lacks one."""
    wanted = set(names)
    prefixes = ["" if place == "." else f"{place}/" for place in IMAGE_FOLDERS]
    place, prefix = max(
        zip(IMAGE_FOLDERS, prefixes, strict=True), key=lambda both: sum(both[1] + name in present for name in wanted)
    )
    missing = [name for name in names if prefix + name not in present]
    if missing:
        spellings = {file_spelling(name): name for name in present}
        other = next((found for one in prefixes if (found := spellings.get(file_spelling(one + missing[0])))), None)
        remedy = f"{shown(other)} is there: write names as the files have them." if other else "Unpack them again."
        if len(missing) == len(names):
            raise DataError(
                f"{folder} has no image {shown(names[0])} nor any other of the list, neither in loose_crop/ nor in "
                f"images/ nor at the top. {remedy}"
            )
        raise DataError(
            f"{folder / place} lacks {len(missing):,} of {len(names):,} images; the first is {shown(missing[0])}. "
            f"{remedy}"
        )
    here = {Path(name).name for name in present if prefix + Path(name).name == name}
    others = sorted(name for name in here - wanted if Path(name).suffix.lower() in IMAGE_SUFFIXES)
    notes = [f"{amount(len(others), 'image is', 'images are')} in no template: {first_of(map(shown, others))}"]
    return folder / place, tuple(notes if others else ())


def content_of_images(folder: Path, names: Sequence[str]) -> str:
    """Return the digest of the content of images, in the order in which a list first names them, hexadecimal.

    Raises:
        DataError: one cannot be read.
    """

    def content(name: str) -> bytes:
        try:
            return hashlib.sha256(read_regular(folder / name)).digest()
        except OSError as error:
            raise DataError(f"{shown(folder / name)} cannot be read: {error.strerror}.") from None

    found, distinct = hashlib.sha256(), list(dict.fromkeys(names))
    with ThreadPoolExecutor(READERS) as readers:
        for start in range(0, len(distinct), AT_ONCE):
            for digest in readers.map(content, distinct[start : start + AT_ONCE]):
                found.update(digest)
    return found.hexdigest()
