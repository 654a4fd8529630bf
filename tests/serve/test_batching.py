"""Requests that share passes of the model: each gets its own rows, or its own error."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from oaml_core.errors import ModelInputError
from oaml_core.serve.batching import Batches


class Held:
    """A pass that the first caller holds up until the others wait."""

    def __init__(self) -> None:
        self.began, self.go, self.sizes = threading.Event(), threading.Event(), []

    def run(self, kind: Any, arrays: list[np.ndarray]) -> list[np.ndarray]:
        self.sizes.append(len(arrays[0]))
        self.began.set()
        assert self.go.wait(60)
        if (arrays[0] < 0).any():
            raise ModelInputError("negative")
        return [arrays[0] * kind, np.empty(0)]


def answers(held: Held, batches: Batches, calls: list[tuple[int, list[int]]]) -> list[Any]:
    """Call once, and then, while that pass runs, everything of `calls` at once."""
    with ThreadPoolExecutor(len(calls) + 1) as pool:
        first = pool.submit(batches.call, 2, [np.array([1])])
        assert held.began.wait(60)
        rest = [pool.submit(batches.call, kind, [np.array(rows)]) for kind, rows in calls]
        while len(batches._waiting) < len(calls):
            threading.Event().wait(0.001)
        held.go.set()
        assert first.result(60)[0].tolist() == [2]
        return [one.exception(60) or one.result()[0].tolist() for one in rest]


def test_what_waits_shares_the_next_pass_and_gets_its_own_rows() -> None:
    held = Held()
    found = answers(held, Batches(held.run, most=8), [(2, [row, row + 10]) for row in range(4)])
    assert found == [[2 * row, 2 * row + 20] for row in range(4)]
    assert held.sizes == [1, 8]


def test_only_calls_of_one_kind_share_a_pass_and_none_grows_beyond_the_most() -> None:
    held = Held()
    found = answers(held, Batches(held.run, most=3), [(2, [1, 2]), (3, [1]), (2, [3, 4]), (2, [5, 6, 7, 8])])
    assert found == [[2, 4], [3], [6, 8], [10, 12, 14, 16]]
    assert sorted(held.sizes) == [1, 1, 2, 2, 4]


def test_a_call_that_fails_fails_alone() -> None:
    held = Held()
    one, bad, other = answers(held, Batches(held.run, most=8), [(2, [1]), (2, [-1]), (2, [3])])
    assert (one, other) == ([2], [6])
    assert isinstance(bad, ModelInputError)


def test_passes_run_side_by_side_where_there_are_cores_for_it() -> None:
    together = threading.Barrier(2)

    def run(kind: Any, arrays: list[np.ndarray]) -> list[np.ndarray]:
        together.wait(60)
        return arrays

    batches = Batches(run, most=1, at_once=2)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda row: batches.call("", [np.array([row])])[0].tolist(), range(2)))
    assert found == [[0], [1]]


@pytest.mark.parametrize("count", [1, 40])
def test_no_call_is_lost(count: int) -> None:
    batches = Batches(lambda kind, arrays: arrays, most=4)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: batches.call(row % 2, [np.array([row])])[0].item(), range(count)))
    assert found == list(range(count))
