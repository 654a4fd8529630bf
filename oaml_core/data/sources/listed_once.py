"""Files that a list names more than once: each counts once, and nobody gets a file that is given to two people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from oaml_core.amounts import amount, first_of
from oaml_core.folder_entries import shown


class ListedFile(NamedTuple):
    """One line of a list."""

    path: str
    """Relative to the source."""
    identity: str
    place: str
    """Line or row of the list, for messages."""


class ListedOnce(NamedTuple):
    """Lines of a list in which no file stands twice."""

    files: list[ListedFile]
    set_aside: list[tuple[str, str]]
    """(name, reason) of the lines that give one file to several identities."""
    notes: list[str]
    """Sentence on files that stand there several times with the same identity; nothing where there are none."""


def mend_lines(name: str) -> str:
    """Say how to mend the lines of the list `name` that are set aside."""
    return f"mend or remove the lines of {name} that are set aside"


def listed_once(files: Sequence[ListedFile], name: str) -> ListedOnce:
    """Leave out repeated lines of the list `name`, and set aside files that are given to several identities."""
    first: dict[str, ListedFile] = {}
    repeated: list[ListedFile] = []
    disputed: dict[str, set[str]] = {}
    for file in files:
        known = first.setdefault(file.path, file)
        if known.identity != file.identity:
            disputed.setdefault(file.path, {known.identity}).add(file.identity)
        elif known is not file:
            repeated.append(file)
    set_aside = [
        (
            f"{shown(file.path)} ({file.place})",
            f"{name} gives it to {first_of(sorted(map(shown, disputed[file.path])))}",
        )
        for file in files
        if file.path in disputed
    ]
    notes = []
    if repeated:
        stand = amount(len(repeated), "line repeats", "lines repeat")
        notes = [
            f"{stand} a file that {name} lists before with the same identity, and each file counts once; the first is "
            f"{shown(repeated[0].path)} ({repeated[0].place})"
        ]
    return ListedOnce([file for path, file in first.items() if path not in disputed], set_aside, notes)
