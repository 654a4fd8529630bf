"""Bucketed comparison finds what comparing all pairs finds."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from oaml_core.data.check import duplicates as check_duplicates
from oaml_core.data.check.duplicates import LARGEST_DISTANCE, near


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_all_pairs_within_the_distance_are_found_and_no_others(seed: int, candidates: int) -> None:
    generator = np.random.default_rng(seed)
    shown = generator.integers(0, 256, (12, 16), dtype=np.uint8)
    flips = generator.integers(0, 14, 60)
    hashes = shown[generator.integers(0, 12, 60)].copy()
    bits = np.unpackbits(hashes, axis=1)
    for row, count in zip(bits, flips, strict=True):
        row[generator.choice(128, count, replace=False)] ^= 1
    hashes = np.packbits(bits, axis=1)

    distance = (np.unpackbits(hashes, axis=1)[:, None] != np.unpackbits(shown, axis=1)[None]).sum(axis=2)
    expected = [(int(r), int(c), int(distance[r, c])) for r, c in np.argwhere(distance <= LARGEST_DISTANCE)]
    before, check_duplicates.CANDIDATES = check_duplicates.CANDIDATES, candidates
    try:
        assert near(hashes, shown) == expected
    finally:
        check_duplicates.CANDIDATES = before
