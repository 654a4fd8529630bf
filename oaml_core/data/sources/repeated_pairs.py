"""Pairs that a list names again: the same two images in either order.

A list counts each pair once, for a repeated one says nothing new and narrows the intervals. A list that calls a pair
genuine and impostor is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.errors import DataError
from oaml_core.folder_entries import shown

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class ListedPairs(NamedTuple):
    """The pairs of a list, as they stand in it."""

    names: list[str]
    """2N images, pair after pair."""
    issame: Bools
    """bool [N]"""
    lines: list[int]
    """[N], line of each pair, from 1."""


class Repeats(NamedTuple):
    """Pairs that occurred before: row of each, and row of the first occurrence."""

    again: Ints
    first: Ints

    def contradicting(self, issame: Bools) -> tuple[int, int] | None:
        """Return the rows of a pair that is genuine once and impostor once: its first and a later one; None if every
        pair is always the same.

        Args:
            issame: bool [N], of all pairs.
        """
        other = np.flatnonzero(issame[self.again] != issame[self.first])
        return (int(self.first[other[0]]), int(self.again[other[0]])) if other.size else None


def find_repeats(left: Ints, right: Ints) -> Repeats:
    """Find the pairs that occurred before, in either order.

    Args:
        left, right: [N], numbers of the two images of each pair, from 0; the square of the largest fits int64.
    """
    low, high = np.minimum(left, right), np.maximum(left, right)
    keys = low.astype(np.int64) * (int(high.max(initial=0)) + 1) + high
    none = np.empty(0, dtype=np.int64)
    if len(np.unique(keys)) == len(keys):  # the usual case, with half the memory
        return Repeats(none, none)
    _, where, which = np.unique(keys, return_index=True, return_inverse=True)
    first = where[which]
    again = np.flatnonzero(first != np.arange(len(keys)))
    return Repeats(again, first[again])


def once(pairs: ListedPairs, where: str) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """Choose the pairs of a list that count.

    Args:
        pairs: all that it lists.
        where: full name of the list, for messages.

    Returns:
        Rows of the pairs that count, in order; and sentences about the others.

    Raises:
        DataError: a pair is of one file with itself, which every model decides rightly; or is genuine and impostor.
    """
    left, right = pairs.names[0::2], pairs.names[1::2]
    for first, second, line in zip(left, right, pairs.lines, strict=True):
        if first == second:
            raise DataError(f"{where} line {line} compares {shown(first)} with itself. Remove the line.")
    number = np.unique(np.array(pairs.names), return_inverse=True)[1].astype(np.int64)
    repeats = find_repeats(number[0::2], number[1::2])
    if (other := repeats.contradicting(pairs.issame)) is not None:
        one, two = other
        raise DataError(
            f"{where}: lines {pairs.lines[one]} and {pairs.lines[two]} compare {shown(left[one])} with "
            f"{shown(right[one])}, once as one person and once as two. Remove the wrong line."
        )
    kept = np.delete(np.arange(len(left)), repeats.again)
    if not repeats.again.size:
        return kept, ()
    return kept, (
        f"{where} lists {amount(len(repeats.again), 'pair')} again, the first on line "
        f"{pairs.lines[repeats.again[0]]} (as on line {pairs.lines[repeats.first[0]]}): each pair counts once",
    )


def same_contents(name: str, digests: Sequence[int | None], issame: Bools) -> list[str]:
    """Say which pairs of a set have equal files as another, or in themselves.

    They count as the set has them, for a published set must give published figures.

    Args:
        name: of the set.
        digests: of its 2N images in order; None: the image is not used.
        issame: bool [N]
    """
    rows = [row for row in range(len(issame)) if digests[2 * row] is not None and digests[2 * row + 1] is not None]
    number = np.unique([[digests[2 * row], digests[2 * row + 1]] for row in rows] or [[0, 1]], return_inverse=True)[1]
    left, right = number.reshape(-1, 2).astype(np.int64).T
    told = []
    if itself := [rows[row] for row in np.flatnonzero(left == right).tolist() if rows]:
        told.append(f"{name}: {amount(len(itself), 'pair')} of two equal files, the first is pair {itself[0] + 1}")
    repeats = find_repeats(left, right)
    if repeats.again.size:
        again, first = (rows[int(one[0])] + 1 for one in repeats)
        told.append(
            f"{name}: {amount(len(repeats.again), 'pair')} of the same files as another, the first is pair {again} (as "
            f"pair {first})"
        )
    if (other := repeats.contradicting(issame[rows])) is not None:
        one, two = (rows[row] + 1 for row in other)
        told.append(f"{name}: pairs {one} and {two} are of the same files, once as one person and once as two")
    return told
