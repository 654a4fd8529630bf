"""The search among embeddings is exact, whatever was added and removed before."""

from __future__ import annotations

import numpy as np
import pytest

from oaml_core.errors import ModelInputError
from oaml_core.inference.gallery import vectors
from oaml_core.inference.gallery.vectors import Vectors


def unit(count: int, size: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def exhaustive(probes: np.ndarray, rows: dict[int, np.ndarray], count: int) -> list[list[int]]:
    keys = sorted(rows)
    scores = probes @ np.stack([rows[key] for key in keys]).T
    return [[keys[place] for place in np.argsort(-row, kind="stable")[:count]] for row in scores]


@pytest.mark.parametrize("block", [3, 64, 4096])
def test_the_nearest_are_those_of_an_exhaustive_search(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "BLOCK", block)
    found, rows = Vectors(16), dict(zip(range(100, 1100), unit(1000, 16, 0), strict=True))
    for part in np.split(np.array(list(rows)), 10):
        found.add(part, np.stack([rows[key] for key in part]))
    for gone in (100, 101, 700, 1099):
        del rows[gone]
    found.remove([100, 101, 700, 1099, 5])
    probes = unit(70, 16, 1)
    keys, scores = found.nearest(probes, 20)
    assert keys.tolist() == exhaustive(probes, rows, 20)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert sorted(found.keys.tolist()) == sorted(rows)


def test_equal_vectors_come_in_the_order_of_their_keys() -> None:
    found, row = Vectors(4), unit(1, 4, 0)
    found.add(np.array([9, 3, 7, 1]), np.repeat(row, 4, axis=0))
    assert found.nearest(row, 3)[0].tolist() == [[1, 3, 7]]


def test_more_than_there_are_and_none_at_all() -> None:
    found = Vectors(4)
    assert found.nearest(unit(2, 4, 0), 5)[0].shape == (2, 0)
    found.add(np.array([2]), unit(1, 4, 0))
    assert found.nearest(unit(2, 4, 0), 5)[0].tolist() == [[2], [2]]


def test_vectors_of_another_length_are_refused() -> None:
    with pytest.raises(ModelInputError, match="length 4"):
        Vectors(4).add(np.array([1]), unit(1, 5, 0))


def test_what_was_removed_is_gone_from_memory() -> None:
    found, rows = Vectors(8), unit(3, 8, 0)
    found.add(np.arange(3), rows)
    found.remove([0, 2])
    held = found._rows.tobytes()
    assert rows[1].tobytes() in held
    assert rows[0].tobytes() not in held
    assert rows[2].tobytes() not in held
