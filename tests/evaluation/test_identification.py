"""Searches in a gallery, on cases that can be worked out by hand, and in blocks."""

from __future__ import annotations

import numpy as np
import pytest

from oaml_core.errors import EvaluationError
from oaml_core.evaluation.statistics import identification
from oaml_core.evaluation.statistics.identification import enrol_first, identify


def search(matrix, probes, gallery, **options):
    matrix = np.asarray(matrix, dtype=np.float32)
    return identify(lambda p, g: matrix[p, g], np.asarray(probes), np.asarray(gallery), **options)


def test_hand_made_searches():
    # People 0, 1, 2 are enrolled, 1 twice; person 9 is not.
    gallery = [0, 1, 1, 2]
    scores = [
        [0.9, 0.1, 0.2, 0.3],  # shows 0: found at 0.9; without 0 the best is 0.3
        [0.5, 0.2, 0.8, 0.1],  # shows 1: found by its second image; without 1 the best is 0.5
        [0.7, 0.1, 0.1, 0.6],  # shows 2: second to 0
        [0.4, 0.3, 0.2, 0.1],  # shows 9
    ]
    found = search(scores, [0, 1, 2, 9], gallery, ranks=(1, 2), fpirs=(0.25, 0.5, 1.0, 0.1))
    assert (found.probes, found.strangers, found.gallery) == (3, 4, 3)
    assert found.rank == {1: pytest.approx(2 / 3), 2: 1.0}
    # Strangers score 0.7, 0.5, 0.4, 0.3. One of four may pass: above 0.5.
    assert [point.fnir for point in found.fnir_at_fpir] == [
        pytest.approx(1 / 3),
        pytest.approx(1 / 3),
        pytest.approx(1 / 3),
        None,
    ]
    assert 0.5 < found.fnir_at_fpir[0].threshold < 0.5001
    assert found.fnir_at_fpir[3].smallest_fpir == 0.25


def test_misses_grow_as_fewer_strangers_may_pass():
    generator = np.random.default_rng(0)
    gallery, probes = np.arange(40), np.repeat(np.arange(40), 5)
    matrix = generator.normal(size=(200, 40)) + 2.0 * (probes[:, None] == gallery)
    points = search(matrix, probes, gallery, fpirs=(0.5, 0.1, 0.01)).fnir_at_fpir
    assert points[0].fnir < points[1].fnir < points[2].fnir
    for point in points:
        others = np.where(probes[:, None] == gallery, -np.inf, matrix).max(1).astype(np.float32)
        assert (others >= point.threshold).mean() <= point.fpir


def test_blocks_change_nothing(monkeypatch):
    generator = np.random.default_rng(1)
    gallery, probes = generator.integers(0, 15, 60), generator.integers(0, 20, 33)
    matrix = generator.normal(size=(33, 60)) + 1.5 * (probes[:, None] == gallery)
    at_once = search(matrix, probes, gallery)
    monkeypatch.setattr(identification, "BLOCK_BYTES", 4 * 60 * 5)
    assert search(matrix, probes, gallery) == at_once


def test_intervals_resample_the_people_who_are_searched_for(monkeypatch):
    generator = np.random.default_rng(2)
    gallery, probes = np.arange(50), np.repeat(np.arange(60), 4)
    matrix = generator.normal(size=(240, 50)).astype(np.float32) + 2.5 * (probes[:, None] == gallery)
    found = search(matrix, probes, gallery, fpirs=(0.1, 0.001))
    ranks, misses = [], []
    monkeypatch.setattr(identification, "RESAMPLES", 1)
    for _ in range(400):
        people = generator.integers(60, size=60)
        rows = np.concatenate([np.flatnonzero(probes == person) for person in people])
        again = search(matrix[rows], probes[rows], gallery, fpirs=(0.1,))
        ranks.append(again.rank[1])
        misses.append(again.fnir_at_fpir[0].fnir)
    np.testing.assert_allclose(found.rank_interval[1], np.quantile(ranks, [0.025, 0.975]), atol=0.015)
    np.testing.assert_allclose(found.fnir_at_fpir[0].interval, np.quantile(misses, [0.025, 0.975]), atol=0.025)
    assert found.fnir_at_fpir[1].interval is None


def test_intervals_do_not_narrow_with_copies_of_the_same_searches():
    generator = np.random.default_rng(3)
    gallery = np.arange(40)
    matrix = generator.normal(size=(40, 40)) + 2.0 * np.eye(40)
    once = search(matrix, gallery, gallery)
    thrice = search(matrix.repeat(3, axis=0), gallery.repeat(3), gallery)
    assert thrice.rank_interval == once.rank_interval


def test_tied_scores_do_not_find_anybody():
    assert search(np.zeros((3, 3)), [0, 1, 2], [0, 1, 2]).rank == {1: 0.0, 5: 1.0}


def test_the_first_image_of_each_identity_is_enrolled():
    gallery, probes = enrol_first(np.array([3, 3, 1, 1, 1, 2]))
    assert gallery.tolist() == [0, 2, 5]
    assert probes.tolist() == [1, 3, 4]


def test_galleries_that_allow_no_search_are_named():
    with pytest.raises(EvaluationError, match="allow no search"):
        enrol_first(np.array([1, 2, 3]))
    with pytest.raises(EvaluationError, match="nothing to identify"):
        search(np.zeros((1, 2)), [5], [1, 2])
    with pytest.raises(EvaluationError, match="NaN"):
        search([[np.nan, 0.0]], [1], [1, 2])
