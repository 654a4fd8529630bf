"""The interval of a difference holds the truth as often as it says, and is seen to be narrow or wide."""

from __future__ import annotations

import numpy as np
import pytest

from oaml_core.evaluation.bootstrap import paired_interval


def test_interval_holds_the_true_difference_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        ours, theirs = generator.random(500) < 0.9, generator.random(500) < 0.85
        interval = paired_interval(ours, theirs, generator)
        hits += interval.low <= 0.05 <= interval.high
    assert 180 <= hits <= 199


def test_agrees_with_resampling_the_pairs_themselves():
    generator = np.random.default_rng(1)
    ours, theirs = generator.random(300) < 0.9, generator.random(300) < 0.8
    interval = paired_interval(ours, theirs, generator)

    rows = generator.integers(0, 300, (10_000, 300))
    differences = ours[rows].mean(1) - theirs[rows].mean(1)
    np.testing.assert_allclose(interval[1:], np.quantile(differences, [0.025, 0.975]), atol=0.006)
    assert interval.difference == pytest.approx(ours.mean() - theirs.mean())


def test_equal_decisions_leave_no_doubt():
    right = np.arange(100) % 7 > 0
    assert paired_interval(right, right, np.random.default_rng(0)) == (0.0, 0.0, 0.0)
