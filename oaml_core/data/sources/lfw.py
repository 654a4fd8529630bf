"""LFW's own lists: `pairs.txt`, the verification protocol, and `people.txt`, who may be trained on.

A line of `pairs.txt` is `name  n  m`, two images of one person, or `name  n  other name  m`; its first line counts
folds and pairs. A line of `people.txt` is `name  count`. Image n of a person is `<name>/<name>_<four digits>.jpg`, in
any folder of the source and with any image ending. Source: http://vis-www.cs.umass.edu/lfw/README.txt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import numpy as np

from oaml_core.amounts import amount
from oaml_core.data.sources.base import SourceFolder
from oaml_core.data.sources.repeated_pairs import ListedPairs
from oaml_core.data.sources.text import decode_text
from oaml_core.decoding.formats import IMAGE_SUFFIXES
from oaml_core.errors import DataError

LFW_LISTS = ("pairs.txt", "pairsDevTest.txt", "pairsDevTrain.txt")
"""Names of pair lists in this form. Sub-lists are sets of their own."""
LONGEST_COUNT = 9
"""Digits of a number in these lists."""
_NUMBERED = re.compile(rf"(.+)_([0-9]{{1,{LONGEST_COUNT}}})")


def read_lfw_pairs(folder: SourceFolder, file: str) -> ListedPairs:
    """Read a pair list of LFW.

    Args:
        folder: the source.
        file: name of the list in it.

    Returns:
        The pairs in the list's order, which keeps its folds.

    Raises:
        DataError: a line is no pair, or an image is missing.
    """
    where = folder.where(file)
    images = _numbered_images(folder.files)
    names: list[str] = []
    truth: list[bool] = []
    lines: list[int] = []
    for number, fields in _lines(folder, file):
        if number == 1 and len(fields) <= 2 and all(map(is_count, fields)):
            continue
        if len(fields) == 3:
            pair = (fields[0], fields[1]), (fields[0], fields[2])
        elif len(fields) == 4:
            pair = (fields[0], fields[1]), (fields[2], fields[3])
        else:
            raise DataError(
                f"{where} line {number} has {amount(len(fields), 'field')}; a pair has 3 or 4, cut by tabs."
            )
        for person, image in pair:
            found = images.get((person, int(image))) if is_count(image) else None
            if found is None:
                raise DataError(
                    f"{where} line {number}: there is no image {image} of {person!r} in the source "
                    f"(`{person}/{person}_{image:0>4}.jpg`). Copy the images again, or remove the list."
                )
            names.append(found)
        truth.append(len(fields) == 3)
        lines.append(number)
    if not truth:
        raise DataError(f"{where} lists no pair.")
    return ListedPairs(names, np.array(truth), lines)


def is_count(text: str) -> bool:
    """Return True if a field is a number of images, or of one image."""
    return text.isascii() and text.isdecimal() and len(text) <= LONGEST_COUNT


def images_of_people(rows: Sequence[Sequence[str]], names: Sequence[str], where: str) -> list[str]:
    """Find the images that the lines of a `people.txt` stand for.

    Args:
        rows: fields of its lines, `[name, count]`.
        names: image files of the source.
        where: name of the list, for messages.

    Returns:
        Names of the images, person after person.

    Raises:
        DataError: a person has fewer images in the source than the list says.
    """
    images = _numbered_images(names)
    found = []
    for person, count in rows:
        for number in range(1, int(count) + 1):
            if (person, number) not in images:
                raise DataError(
                    f"{where} gives {person!r} {amount(int(count), 'image')}; the source has no number {number} "
                    "of them."
                )
            found.append(images[person, number])
    return found


def _numbered_images(names: Iterable[str]) -> dict[tuple[str, int], str]:
    """Return image file of each (person, number)."""
    found: dict[tuple[str, int], str] = {}
    for name in names:
        path = PurePosixPath(name)
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        numbered = _NUMBERED.fullmatch(path.stem)
        if numbered and numbered[1] == path.parent.name:
            found.setdefault((numbered[1], int(numbered[2])), name)
    return found


def _lines(folder: SourceFolder, file: str) -> Iterable[tuple[int, list[str]]]:
    text = decode_text(folder.read(file), folder.where(file))
    for number, line in enumerate(text.splitlines(), start=1):
        fields = [field.strip() for field in (line.split("\t") if "\t" in line else line.split())]
        if any(fields):
            yield number, [field for field in fields if field]
