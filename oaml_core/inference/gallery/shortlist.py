"""Which of many embeddings may be the nearest, by short codes of them that are quick to look through.

Two dimensions of an embedding become 4 bits: faiss' product quantiser with 16 values per pair, whose look-up tables fit
a processor's registers ("Quicker ADC", arXiv:1812.09162). 512 float32 numbers, 2,048 bytes, become 128 bytes. What is
found by the codes is compared exactly afterwards.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.inference.records import Floats

TRAINED_ON = 10_000
"""Vectors from which the values of the codes are learnt, evenly taken from all."""
BITS = 4
"""Per pair of dimensions."""

Places = NDArray[np.int64]


@cache
def can_shorten() -> bool:
    """Return True if faiss is installed."""
    return find_spec("faiss") is not None


class Shortlist:
    """Codes of vectors, in the order of the vectors.

    Args:
        rows: all vectors so far [n, size], of even size; n is 1,000 or more.
    """

    def __init__(self, rows: Floats) -> None:
        self._faiss: Any = import_module("faiss")
        self._take_one_thread()
        size = rows.shape[1]
        self._index: Any = self._faiss.IndexPQFastScan(size, size // 2, BITS, self._faiss.METRIC_INNER_PRODUCT)
        self._index.train(np.ascontiguousarray(rows[:: max(1, len(rows) // TRAINED_ON)]))
        self._packer: Any = self._index.get_CodePacker()
        self.learnt_at = len(rows)
        """Vectors that there were when the values of the codes were learnt."""
        self.add(rows)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def memory(self) -> int:
        """Memory that the codes take, in bytes."""
        return int(self._index.codes.size())

    def add(self, rows: Floats) -> None:
        """Add vectors [n, size] behind the others."""
        self._take_one_thread()
        self._index.add(np.ascontiguousarray(rows))

    def replace_by_last(self, place: int) -> None:
        """Put the last vector in the place of another, which is forgotten; the last place becomes zeros and is free."""
        blocks, last = self._blocks(), len(self) - 1
        self._packer.pack_1(self._packer.unpack_1(blocks, last), place, blocks)
        self._packer.pack_1(np.zeros(self._packer.code_size, np.uint8), last, blocks)
        self._index.ntotal = last

    def places(self, probes: Floats, count: int) -> Places:
        """Return the places [p, count] of the vectors whose codes are nearest to each probe [p, size].

        Args:
            probes: unit vectors.
            count: places per probe, no more than there are vectors.
        """
        self._take_one_thread()
        found: Places = self._index.search(np.ascontiguousarray(probes), count)[1]
        return found

    def _take_one_thread(self) -> None:
        """Keep faiss to the calling thread: requests run side by side already, and its threads wait by spinning."""
        self._faiss.omp_set_num_threads(1)

    def _blocks(self) -> NDArray[np.uint8]:
        """Return the codes' memory itself; adding vectors may move it."""
        codes = self._index.codes
        blocks: NDArray[np.uint8] = self._faiss.rev_swig_ptr(codes.data(), codes.size())
        return blocks.reshape(-1, self._packer.block_size)
