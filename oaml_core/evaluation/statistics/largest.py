"""The largest of a stream of numbers, in memory for twice as many.

Of equal numbers those with the smallest known columns count as larger: what is kept, and its order, depend on the
numbers that came and not on their order, so that the largest of several streams are those of one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOM = 1_000_000
"""Numbers beyond twice the count that may wait for a cut; a block that comes may bring as many again."""


class Largest:
    """The `count` largest of a stream of numbers, with what else is known of each."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._parts: list[tuple[NDArray[Any], ...]] = []
        self._held = 0
        self._floor = np.float32(-np.inf)

    def add(self, values: NDArray[np.float32], *known: NDArray[np.int32]) -> None:
        """Take in numbers [n] and what is known of each [n]."""
        kept = values >= self._floor
        self._parts.append(tuple(column[kept] for column in (values, *known)))
        self._held += int(kept.sum())
        if self._held > 2 * self._count + ROOM:
            self._prune()

    def most_bytes(self, columns: int) -> int:
        """Return bytes that are held at most, with so many columns of 4 bytes: twice at the time of a cut."""
        return 2 * 4 * columns * (2 * self._count + 2 * ROOM)

    def _prune(self) -> None:
        columns = tuple(np.concatenate(parts) for parts in zip(*self._parts, strict=True))
        self._parts.clear()
        if columns[0].size > self._count:
            columns = _cut(columns, self._count)
            self._floor = columns[0].min()
        self._parts, self._held = [columns], columns[0].size

    def sorted(self) -> tuple[NDArray[Any], ...]:
        """Return the numbers, descending, and what is known of each."""
        self._prune()
        values, *known = self._parts[0]
        if not known:
            return (np.sort(values)[::-1],)
        order = np.lexsort((*known[::-1], -values))
        return tuple(column[order] for column in (values, *known))


def _cut(columns: tuple[NDArray[Any], ...], count: int) -> tuple[NDArray[Any], ...]:
    """Return the rows with the `count` largest of the first column."""
    values, *known = columns
    if not known:  # in place: there may be 40 million
        values.partition(values.size - count)
        return (values[-count:].copy(),)
    least = np.partition(values, values.size - count)[values.size - count]
    above, equal = np.flatnonzero(values > least), np.flatnonzero(values == least)
    first = np.lexsort(tuple(column[equal] for column in known[::-1]))[: count - above.size]
    kept = np.concatenate([above, equal[first]])
    return tuple(column[kept] for column in columns)
