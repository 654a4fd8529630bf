"""Embeddings of a gallery in memory, and the search for the nearest ones.

Few are compared by matrix products, exactly. Of many, short codes choose some that are compared exactly: see
`shortlist`, which wants faiss (`pip install 'oaml[fast]'`).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from oaml_core.errors import ModelInputError
from oaml_core.inference.gallery.shortlist import Shortlist, can_shorten
from oaml_core.inference.records import Floats

BLOCK = 16384
"""Rows of the gallery per matrix product: scores of a block stay in the processor's cache."""
PROBES = 64
"""Probes per matrix product."""
GROWTH = 1.25
"""Factor by which the memory grows where it is full."""
SHORTENED_FROM = 20_000
"""Vectors from which on codes choose among them: below, all are compared in less than 4 ms."""
CHOSEN = 5
"""Vectors that codes choose per vector that is wanted."""
RELEARNT = 4
"""Factor of growth after which the codes' values are learnt anew."""

Keys = NDArray[np.int64]


class Vectors:
    """Unit vectors by key; memory is 4 · `size` bytes per vector, at most `GROWTH` times that while it grows.

    Args:
        size: length of the vectors.
        exact: compare all of them always.
    """

    def __init__(self, size: int, *, exact: bool = False) -> None:
        self.size = size
        self._may_shorten = not exact and size % 2 == 0 and can_shorten()
        self._short: Shortlist | None = None
        self._rows: Floats = np.zeros((0, size), dtype=np.float32)
        self._keys: Keys = np.zeros(0, dtype=np.int64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def keys(self) -> Keys:
        """Keys of all vectors, in no order."""
        return self._keys[: self._count]

    @property
    def memory(self) -> int:
        """Memory that the vectors take, in bytes."""
        return self._rows.nbytes + self._keys.nbytes + (0 if self._short is None else self._short.memory)

    def reserve(self, count: int) -> None:
        """Hold memory for `count` vectors, so that adding them copies nothing."""
        if count <= len(self._keys):
            return
        rows, keys = np.zeros((count, self.size), dtype=np.float32), np.zeros(count, dtype=np.int64)
        rows[: self._count], keys[: self._count] = self._rows[: self._count], self.keys
        self._rows, self._keys = rows, keys

    def add(self, keys: Keys, vectors: Floats) -> None:
        """Add vectors [n, size] under new keys [n].

        Raises:
            ModelInputError: they have another length.
        """
        if vectors.shape != (len(keys), self.size):
            raise ModelInputError(f"The vectors are {vectors.shape}; the gallery holds vectors of length {self.size}.")
        needed = self._count + len(keys)
        if needed > len(self._keys):
            self.reserve(max(needed, int(GROWTH * len(self._keys))))
        self._rows[self._count : needed], self._keys[self._count : needed] = vectors, keys
        self._count = needed
        if self._short is not None:
            self._short.add(self._rows[needed - len(keys) : needed])

    def remove(self, keys: Iterable[int]) -> None:
        """Remove vectors and overwrite their memory with zeros; keys that are not there are passed over."""
        gone = np.fromiter(keys, dtype=np.int64)
        for place in sorted(np.flatnonzero(np.isin(self.keys, gone)), reverse=True):
            last = self._count - 1
            self._rows[place], self._keys[place] = self._rows[last], self._keys[last]
            self._rows[last], self._keys[last] = 0, 0
            if self._short is not None:
                self._short.replace_by_last(int(place))
            self._count = last

    def rows(self, keys: Keys) -> Floats:
        """Vectors [n, size] of keys that are all there."""
        order = np.argsort(self.keys, kind="stable")
        result: Floats = self._rows[order[np.searchsorted(self.keys, keys, sorter=order)]]
        return result

    def nearest(self, probes: Floats, count: int) -> tuple[Keys, Floats]:
        """Find the vectors with the largest inner products; scores are exact, ties by key.

        From `SHORTENED_FROM` vectors on, a vector may be missed whose score is near that of the last ones.

        Args:
            probes: [p, size].
            count: vectors per probe.

        Returns:
            Keys and scores, each [p, min(count, n)], best first.
        """
        count = min(count, self._count)
        self.prepare()
        if self._short is not None and count:
            return self._chosen(self._short, probes, count)
        parts = [self._nearest(probes[start : start + PROBES], count) for start in range(0, len(probes), PROBES)]
        if not parts or not count:
            return np.zeros((len(probes), 0), dtype=np.int64), np.zeros((len(probes), 0), dtype=np.float32)
        return np.concatenate([keys for keys, _ in parts]), np.concatenate([scores for _, scores in parts])

    def prepare(self) -> None:
        """Learn and compute the codes, if there are many vectors and no codes yet; the next search would do it."""
        if self._short is not None and self._count > RELEARNT * self._short.learnt_at:
            self._short = None
        if self._may_shorten and self._short is None and self._count >= SHORTENED_FROM:
            self._short = Shortlist(self._rows[: self._count])

    def _chosen(self, short: Shortlist, probes: Floats, count: int) -> tuple[Keys, Floats]:
        """Compare exactly what the codes choose."""
        keys = np.zeros((len(probes), count), dtype=np.int64)
        best = np.zeros((len(probes), count), dtype=np.float32)
        for row, places in enumerate(short.places(probes, min(self._count, CHOSEN * count))):
            scores, named = self._rows[places] @ probes[row], self._keys[places]
            order = np.lexsort((named, -scores))[:count]
            keys[row], best[row] = named[order], scores[order]
        return keys, best

    def _nearest(self, probes: Floats, count: int) -> tuple[Keys, Floats]:
        best = np.full((len(probes), count), -np.inf, dtype=np.float32)
        keys = np.full((len(probes), count), np.iinfo(np.int64).max)
        if not count:
            return keys, best
        step = max(BLOCK, count)
        for start in range(0, self._count, step):
            stop = min(self._count, start + step)
            scores = probes @ self._rows[start:stop].T
            least = best.min(1)
            # All but the first block have few scores above the least of the best.
            for row in np.flatnonzero(scores.max(1) >= least):
                places = np.flatnonzero(scores[row] >= least[row])
                if len(places) > count:
                    edge = np.partition(scores[row, places], -count)[-count]
                    places = places[scores[row, places] >= edge]
                some = np.concatenate([best[row], scores[row, places]])
                named = np.concatenate([keys[row], self._keys[start:stop][places]])
                order = np.lexsort((named, -some))[:count]
                best[row], keys[row] = some[order], named[order]
        return keys, best
