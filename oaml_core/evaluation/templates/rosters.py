"""Lists of whom templates show: the galleries and probes of IJB-B and IJB-C."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oaml_core.errors import DataError

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
COLUMNS = ("TEMPLATE_ID", "SUBJECT_ID")
SEPARATORS = ",;\t|"
LONGEST_HEADER = 10_000
"""Characters of the first line that tell the separator."""
LARGEST = int(np.iinfo(np.int64).max)
FACES = "_face_tid_mid.txt"
"""Ending of the list that says which images a template has."""


@dataclass(frozen=True)
class Roster:
    """Person of each template in a gallery or in a list of probes."""

    file: Path
    templates: Ints
    """[t], rows of the templates."""
    subjects: Ints
    """[t]"""


def read_roster(file: Path, ids: Ints) -> Roster:
    """Read TEMPLATE_ID and SUBJECT_ID: the columns of these names, else the first two."""
    try:
        found = _subjects(file)
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{file} is no list that can be read ({error}); copy it again.") from None
    if not found:
        raise DataError(f"{file} names no template.")
    templates = np.array(sorted(found), dtype=np.int64)
    return Roster(file, rows_of(file, templates, ids), np.array([found[int(one)] for one in templates], dtype=np.int64))


def _subjects(file: Path) -> dict[int, int]:
    """Return the subject of each template of a roster."""
    found: dict[int, int] = {}
    with file.open(encoding="utf-8-sig", newline="") as lines:
        separator = max(SEPARATORS, key=lines.readline(LONGEST_HEADER).count)
        lines.seek(0)
        rows = csv.reader(lines, delimiter=separator, skipinitialspace=True)
        places = [0, 1]
        for row in rows:
            head = [cell.strip().upper() for cell in row]
            if not any(head):
                continue
            if rows.line_num == 1 and not all(map(is_whole, head[:2])):
                places = [head.index(name) if name in head else place for place, name in enumerate(COLUMNS)]
                continue
            try:
                template, subject = (whole_number(row[place]) for place in places)
            except (ValueError, IndexError):
                raise DataError(
                    f"{file} line {rows.line_num}: TEMPLATE_ID and SUBJECT_ID must be numbers, cut by commas."
                ) from None
            if found.setdefault(template, subject) != subject:
                raise DataError(f"{file} line {rows.line_num}: template {template} has two subjects.")
    return found


def is_whole(text: str) -> bool:
    """Return True if a cell is a whole number, so that its row is no header."""
    return text.removeprefix("-").isdecimal()


def whole_number(text: str) -> int:
    """Return the number that `text` is; raises ValueError where it is none, or none that 64 bits hold."""
    number = int(text)
    if abs(number) > LARGEST:
        raise ValueError(f"{text[:40]} is too large")
    return number


def rows_of(file: Path, numbers: Ints, ids: Ints) -> Ints:
    """Return the row of each template; raises DataError for one that has no image."""
    rows = np.searchsorted(ids, numbers).clip(max=len(ids) - 1)
    unknown = np.flatnonzero(ids[rows] != numbers)
    if unknown.size:
        raise DataError(
            f"{file} names template {numbers[unknown[0]]}, which has no image in *{FACES}: the lists are of two "
            "data sets."
        )
    return rows


def subject_of(matches: Path, rosters: Sequence[Roster], templates: int) -> Ints:
    """Return the person of each template, -1 where no roster names one."""
    subjects: Ints = np.full(templates, -1, dtype=np.int64)
    for roster in rosters:
        other = (subjects[roster.templates] != -1) & (subjects[roster.templates] != roster.subjects)
        if other.any():
            raise DataError(f"{roster.file} gives a template of {matches.name} another subject than a list beside it.")
        subjects[roster.templates] = roster.subjects
    return subjects
