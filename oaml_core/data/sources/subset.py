"""The images that `data.subset` names, in the forms that such lists are published in."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from oaml_core.amounts import amount
from oaml_core.data.sources.base import Ints, TrainingSource
from oaml_core.data.sources.image_folder import ImageFileSource
from oaml_core.data.sources.lfw import images_of_people, is_count
from oaml_core.data.sources.text import decode_text
from oaml_core.errors import DataError
from oaml_core.folder_entries import read_regular

_POSITIONS = re.compile(r"\[?\s*\d+\s*(,\s*\d+\s*)+,?\s*\]?")


def find_subset(source: TrainingSource, path: Path) -> Ints:
    """Find the images that a subset file names.

    Args:
        source: the training images.
        path: a text file. One image a line, by record number or path; or one line of comma-separated positions in the
            order of `TrainingSource.folder_order`, counted from 0, as AdaFace's `ms1mv2_train_subset_index.txt`; or
            LFW's `people.txt`.

    Returns:
        Numbers of the images, rising, each once.

    Raises:
        DataError: the file cannot be read, or names an image that does not exist.
    """
    try:
        text = decode_text(read_regular(path), f"data.subset: {path}")
    except OSError as error:
        raise DataError(f"data.subset: {path} cannot be read: {error.strerror}.") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if _POSITIONS.fullmatch(text.strip()):
        return _of_positions(source, text, path)
    if isinstance(source, ImageFileSource) and (people := _people(lines)):
        return np.unique(source.find(images_of_people(people, source.names, f"data.subset: {path}")))
    return np.unique(source.find(lines))


def _of_positions(source: TrainingSource, text: str, path: Path) -> Ints:
    try:
        positions = np.unique(np.array(re.findall(r"\d+", text), dtype=np.int64))
    except (ValueError, OverflowError):
        raise DataError(f"data.subset: {path} names a position beyond 64 bits. Is it another kind of list?") from None
    if positions[-1] >= len(source):
        raise DataError(
            f"data.subset: {path} names position {positions[-1]:,}; the source has "
            f"{amount(len(source), 'image')}, counted "
            "from 0. Is it the list of another data set?"
        )
    return np.sort(source.folder_order()[positions])


def _people(lines: list[str]) -> list[list[str]]:
    """Return the rows of a `people.txt`, or nothing if it is none; lines that only count are left out."""
    rows = [line.split("\t") for line in lines]
    counts = [row for row in rows if len(row) == 1 and is_count(row[0])]
    people = [row for row in rows if len(row) == 2 and is_count(row[1].strip())]
    return people if people and len(counts) + len(people) == len(rows) else []
