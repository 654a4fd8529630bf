"""Visibility batches: occluded and clean faces, each in a cycle of its own, the same for any number of workers."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oaml_core.data.batches.visibility_plan import VisibilityPlan
from oaml_core.errors import ConfigError

PAIRS = np.array([3, 4, 8, 9, 11, 12, 20])


def plan(pairs: np.ndarray = PAIRS, size: int = 10, clean_share: float = 0.2, **place: int) -> VisibilityPlan:
    return VisibilityPlan(pairs, 5, size, clean_share, **({"seed": 0} | place))


def test_four_fifths_are_faces_with_masks_and_the_rest_is_clean() -> None:
    for number in range(5):
        kinds = Counter(key.kind for key in plan().global_batch(number))
        assert kinds == {"paired": 8, "clean": 2}
    assert Counter(key.kind for key in plan(np.zeros(0, np.int64)).global_batch(0)) == {"drawn": 8, "clean": 2}
    assert Counter(key.kind for key in plan(clean_share=1.0).global_batch(3)) == {"clean": 10}


def test_each_kind_shows_all_of_its_images_before_any_again() -> None:
    keys = [key for number in range(21) for key in plan().global_batch(number)]
    paired = sorted((key for key in keys if key.kind == "paired"), key=lambda key: key.image)
    assert Counter(key.image for key in paired) == dict.fromkeys(PAIRS.tolist(), 8 * 21 // 7)
    clean = Counter(key.image for key in keys if key.kind == "clean")
    assert set(clean) == set(range(5))
    assert max(clean.values()) - min(clean.values()) <= 1
    first = {key.image for key in plan(size=7, clean_share=0.0).global_batch(0)}
    assert first == set(PAIRS.tolist())


@settings(max_examples=30, deadline=None)
@given(st.integers(8, 40), st.floats(0, 1), st.integers(0, 10_000))
def test_the_workers_slices_are_the_batch(size: int, clean_share: float, number: int) -> None:
    whole = plan(size=size, clean_share=clean_share).global_batch(number)
    assert len(whole) == size
    for workers in (1, 2, 3, 4, 8):
        slices = [
            plan(size=size, clean_share=clean_share, rank=rank, world_size=workers).slice(number)
            for rank in range(workers)
        ]
        assert list(chain(*slices)) == whole
        assert max(map(len, slices)) - min(map(len, slices)) <= 1


def test_every_worker_gets_clean_and_occluded_faces() -> None:
    for rank in range(4):
        kinds = {key.kind for key in plan(size=40, rank=rank, world_size=4).slice(2)}
        assert kinds == {"paired", "clean"}


def test_no_sample_is_augmented_like_another() -> None:
    seeds = [key.seed for number in range(50) for key in plan().global_batch(number)]
    assert len(set(seeds)) == len(seeds)
    assert plan().global_batch(7) == plan().global_batch(7)
    assert plan().global_batch(7) != plan(seed=1).global_batch(7)


def test_more_workers_than_images_are_refused_with_what_works() -> None:
    with pytest.raises(ConfigError, match="any number from 1 to 10 works"):
        plan(world_size=11)
