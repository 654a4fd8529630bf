"""Intervals hold the truth as often as they say, people shared among pairs included, and differences are paired."""

from __future__ import annotations

import numpy as np
import pytest

from oaml_core.evaluation.statistics.bootstrap import IdentityBootstrap, Interval, in_points
from oaml_core.evaluation.statistics.roc import roc, tar_at_far


def people_of(count: int, people: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first, second = generator.integers(0, people, (2, count))
    issame = np.arange(count) % 2 == 0
    second[issame] = first[issame]
    second[~issame & (second == first)] = (first[~issame & (second == first)] + 1) % people
    return first, second, issame


def test_interval_holds_the_truth_about_as_often_as_it_says_although_pairs_share_people():
    generator = np.random.default_rng(0)
    hits = {"people": 0, "pairs": 0}
    truth = 0.8
    for _ in range(200):
        first, second, issame = people_of(400, 40, generator)
        # Some people are hard to tell: all their pairs suffer.
        hard = generator.normal(0, 1.0, 40)
        right = (hard[first] + hard[second]) / 2 + generator.normal(0, 1, 400) * 0.3
        spread = np.sqrt(np.where(issame, 1.0, 0.5) + 0.09)
        correct = (right / spread > -0.8416)[:, None]
        found = float(correct.mean())
        by_people = IdentityBootstrap(first, second, issame, generator, 200)
        alone = np.arange(400)
        by_pairs = IdentityBootstrap(alone, alone, np.ones(400, bool), generator, 200)
        for name, bootstrap in (("people", by_people), ("pairs", by_pairs)):
            interval = Interval.of(found, bootstrap.shares(correct)[:, 0])
            hits[name] += interval.low <= truth <= interval.high
    assert hits["people"] >= 180
    assert hits["pairs"] < 160


def test_pairs_without_common_people_are_resampled_as_pairs():
    generator = np.random.default_rng(1)
    correct = generator.random(500) < 0.9
    alone = np.arange(500)
    bootstrap = IdentityBootstrap(alone, alone, np.ones(500, bool), generator, 4000)
    drawn = bootstrap.shares(correct[:, None])[:, 0]
    rows = generator.integers(0, 500, (4000, 500))
    np.testing.assert_allclose(
        np.quantile(drawn, [0.025, 0.975]), np.quantile(correct[rows].mean(1), [0.025, 0.975]), atol=0.005
    )


def test_an_impostor_pair_counts_as_often_as_both_its_people_were_drawn():
    bootstrap = IdentityBootstrap(
        np.array([0, 1, 0]), np.array([0, 1, 1]), np.array([True, True, False]), np.random.default_rng(2), 500
    )
    genuine, other, impostor = bootstrap.shares(np.eye(3, dtype=bool)).T
    total = np.round(1 / np.maximum(genuine + other + impostor, 1e-9)).astype(int)
    assert set(total) == {1}
    # Two draws of two people: 2 + 0, 1 + 1 or 0 + 2 times.
    assert {(round(a, 3), round(b, 3), round(c, 3)) for a, b, c in zip(genuine, other, impostor, strict=True)} == {
        (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.333, 0.333, 0.333),
    }  # fmt: skip


def test_shares_of_one_pair_that_counts_are_all_or_nothing():
    bootstrap = IdentityBootstrap(
        np.array([0, 1]), np.array([0, 1]), np.array([True, True]), np.random.default_rng(2), 100
    )
    shares = bootstrap.shares(np.ones((2, 1), bool), among=np.array([True, False]))[:, 0]
    np.testing.assert_array_equal(shares, bootstrap.drawn[:, 0] > 0)
    assert set(shares) == {0.0, 1.0}


def test_tar_of_a_resample_is_that_of_its_pairs_written_out():
    generator = np.random.default_rng(3)
    first, second, issame = people_of(300, 25, generator)
    scores = np.round(generator.normal(issame * 1.0, 1.0), 1)  # with ties
    bootstrap = IdentityBootstrap(first, second, issame, generator, 20)
    found = bootstrap.tar_at_far(scores, [0.1, 0.02])
    for drawn, tars in zip(bootstrap._drawn, found, strict=True):
        times = (drawn[first] * np.where(issame, 1, drawn[second])).astype(int)
        written_out = tar_at_far(roc(np.repeat(scores, times), np.repeat(issame, times)), [0.1, 0.02])
        np.testing.assert_allclose([point.tar or np.nan for point in written_out], tars, atol=1e-6)


def test_equal_decisions_leave_no_doubt_about_their_difference():
    generator = np.random.default_rng(4)
    bootstrap = IdentityBootstrap(*people_of(100, 20, generator), generator, 100)
    right = np.arange(100) % 7 > 0
    one, other = bootstrap.shares(np.stack([right, right], axis=1)).T
    assert Interval.of(0.0, one - other) == (0.0, pytest.approx(0), pytest.approx(0))
    assert one.std() > 0


def test_a_difference_that_rounds_to_nothing_has_no_minus():
    assert in_points(-0.00001, -0.004, 0.0125) == ["+0.00", "−0.40", "+1.25"]


def test_resamples_in_pieces_and_with_the_highest_impostors_alone_are_those_of_all(monkeypatch):
    first, second, issame = people_of(400, 30, np.random.default_rng(5))
    scores = np.random.default_rng(6).normal(issame * 1.0, 1.0)
    full = IdentityBootstrap(first, second, issame, np.random.default_rng(7), 50, people=30)
    rates = [0.02, 0.1, 0.6]
    expected = full.tar_at_far(scores, rates)
    impostors = (full.drawn[:, first[~issame]] * full.drawn[:, second[~issame]]).sum(1).astype(np.float64)
    highest = issame | (scores >= np.sort(scores[~issame])[-80])
    monkeypatch.setattr("oaml_core.evaluation.statistics.bootstrap.CHUNK_BYTES", 3 * 4 * int(highest.sum()))
    few = IdentityBootstrap(first[highest], second[highest], issame[highest], np.random.default_rng(7), 50, people=30)
    np.testing.assert_array_equal(few.drawn, full.drawn)
    found = few.tar_at_far(scores[highest], rates, impostors)
    np.testing.assert_array_equal(found[:, :2], expected[:, :2])
    assert np.isnan(found[:, 2]).all()  # 80 of 200 impostors do not measure a rate of 0.6


def test_people_are_counted_whatever_their_numbers():
    bootstrap = IdentityBootstrap(
        np.array([7, 900]), np.array([7, 40]), np.array([True, False]), np.random.default_rng(0), 10
    )
    assert bootstrap.identities == 3
    assert bootstrap.drawn.shape == (10, 3)
    assert (bootstrap.drawn.sum(1) == 3).all()
