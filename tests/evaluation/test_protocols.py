"""Ten folds: the published numbers, and scores of any range."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oaml_core.errors import EvaluationError
from oaml_core.evaluation.statistics.protocols import (
    PUBLISHED_THRESHOLDS,
    best_threshold,
    fold_numbers,
    squared_distances,
    ten_fold,
    ten_fold_any_range,
)

REFERENCE = Path(__file__).parents[1] / "data" / "verification.npz"


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    with np.load(REFERENCE) as arrays:
        return {name: arrays[name] for name in arrays.files}


def test_published_numbers_are_met_to_the_last_digit(reference):
    found = ten_fold(squared_distances(reference["embeddings"]), reference["issame"])

    np.testing.assert_array_equal(found.accuracy_by_fold, reference["accuracy_by_fold"])
    np.testing.assert_array_equal(found.threshold_by_fold, reference["best_threshold_by_fold"])
    np.testing.assert_array_equal(found.tpr_by_threshold, reference["tpr_by_threshold"])
    np.testing.assert_array_equal(found.fpr_by_threshold, reference["fpr_by_threshold"])


def one_threshold_after_the_other(distances, issame, folds):
    """The protocol as its definition reads, slowly."""
    fold = fold_numbers(len(distances), folds)
    accuracy = []
    for k in range(folds):
        right = [np.mean((distances[fold != k] < threshold) == issame[fold != k]) for threshold in PUBLISHED_THRESHOLDS]
        best = PUBLISHED_THRESHOLDS[int(np.argmax(right))]
        accuracy.append(np.mean((distances[fold == k] < best) == issame[fold == k]))
    return np.array(accuracy)


@pytest.mark.parametrize(("pairs", "folds"), [(100, 10), (103, 10), (41, 4)])
def test_agrees_with_the_definition_on_uneven_folds_and_scores_on_the_grid(pairs, folds):
    generator = np.random.default_rng(pairs)
    issame = generator.random(pairs) < 0.4
    # Multiples of 0.01: many distances lie exactly on a threshold.
    distances = np.round(generator.normal(np.where(issame, 1.2, 1.8), 0.4), 2).clip(0, 3.99)

    found = ten_fold(distances, issame, folds)

    np.testing.assert_allclose(
        found.accuracy_by_fold, one_threshold_after_the_other(distances, issame, folds), atol=1e-12
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_threshold_decides_more_pairs_than_the_chosen_one(data):
    scores = np.sort(data.draw(st.lists(st.integers(-4, 4), min_size=1, max_size=30))).astype(float)
    labels = np.array(data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores))))

    chosen = np.mean((scores >= best_threshold(scores, labels)) == labels)

    tried = [np.mean((scores >= threshold) == labels) for threshold in np.arange(-5, 6, 0.5)]
    assert chosen == max(tried)


def test_any_range_does_not_depend_on_the_unit_of_the_scores(reference):
    similarity = -squared_distances(reference["embeddings"]).astype(np.float64)
    first = ten_fold_any_range(similarity, reference["issame"])
    second = ten_fold_any_range(1000 * similarity - 7, reference["issame"])

    np.testing.assert_array_equal(first.accuracy_by_fold, second.accuracy_by_fold)
    assert abs(first.accuracy - reference["accuracy_by_fold"].mean()) <= 0.005


def test_perfect_scores_are_all_right_and_tied_scores_are_a_coin():
    issame = np.tile([True, False], 50)
    assert ten_fold_any_range(issame * 3.0 - 9, issame).accuracy == 1.0
    assert ten_fold_any_range(np.full(100, 0.25), issame).accuracy == 0.5
    assert ten_fold(np.where(issame, 0.5, 2.0), issame).accuracy == 1.0


@pytest.mark.parametrize("protocol", [ten_fold, ten_fold_any_range])
@pytest.mark.parametrize(
    ("scores", "issame", "message"),
    [
        ([0.1] * 19 + [float("nan")], [True, False] * 10, "NaN or infinite, the first at pair 19"),
        ([0.1] * 20, [True] * 20, "impostor"),
        ([0.1] * 20, [False] * 20, "genuine"),
        ([0.1] * 19, [True, False] * 10, "one entry a pair"),
        ([], [], "no genuine"),
    ],
)
def test_unusable_scores_are_named(protocol, scores, issame, message):
    with pytest.raises(EvaluationError, match=message):
        protocol(np.array(scores), np.array(issame))


def test_the_middle_one_of_equally_good_thresholds_is_taken():
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    labels = np.array([False, True, False, True, False, True])
    # Cuts above 0.1, 0.3 and 0.5 decide four of six rightly: the middle one lies between 0.3 and 0.4.
    assert best_threshold(scores, labels) == pytest.approx(0.35)


@pytest.mark.parametrize("protocol", [ten_fold, ten_fold_any_range])
def test_each_pair_is_told_right_or_wrong_as_its_fold_was_counted(protocol):
    same = np.arange(203) % 2 == 0
    is_far = same if protocol is ten_fold_any_range else ~same
    found = protocol(np.random.default_rng(0).normal(np.where(is_far, 2.0, 1.0), 0.5).clip(0, 4), same)
    fold = fold_numbers(len(same), 10)
    np.testing.assert_allclose([found.correct[fold == k].mean() for k in range(10)], found.accuracy_by_fold)
    assert 0.7 < found.accuracy < 1


def test_two_folds_are_the_fewest():
    found = ten_fold([0.2, 3.0, 0.2, 3.0], [True, False, True, False], folds=2)
    assert found.accuracy_by_fold.tolist() == [1.0, 1.0]
    with pytest.raises(EvaluationError, match="cannot be cut into 1 fold"):
        ten_fold([0.2, 3.0], [True, False], folds=1)


def test_a_single_score_is_no_list_of_pairs():
    with pytest.raises(EvaluationError, match=r"both must be \[N\]"):
        ten_fold_any_range(0.5, True)
    with pytest.raises(EvaluationError, match=r"both must be \[N\]"):
        ten_fold_any_range([0.5] * 4, [True, False])


def test_a_fold_with_one_genuine_pair_has_the_rate_of_that_pair():
    found = ten_fold([0.2, 3.0, 0.2, 3.0], [True, False, True, False], folds=2)
    assert found.tpr_by_threshold[100] == 1.0
    assert found.fpr_by_threshold[100] == 0.0
    assert found.fpr_by_threshold[-1] == 1.0


def test_the_middle_of_several_cuts_and_a_threshold_between_neighbouring_floats():
    # Cuts before the scores 0, 2 and 4, and behind all, decide three of six pairs rightly: the third is taken.
    ascending = np.arange(6.0)
    assert best_threshold(ascending, np.array([True, False, True, False, True, False])) == pytest.approx(3.5)
    low = 0.5
    high = np.nextafter(low, 1)
    assert best_threshold(np.array([0.1, low, high]), np.array([False, False, True])) == high


def test_pairs_at_the_threshold_are_judged_as_the_accuracy_counts_them():
    generator = np.random.default_rng(0)
    same = np.arange(200) % 2 == 0
    distances = PUBLISHED_THRESHOLDS[
        np.where(same, generator.integers(90, 160, 200), generator.integers(120, 200, 200))
    ]
    found = ten_fold(distances, same)
    by_fold = found.correct.reshape(10, 20).mean(axis=1)
    assert (distances == np.repeat(found.threshold_by_fold, 20)).any()
    np.testing.assert_allclose(by_fold, found.accuracy_by_fold)


def test_a_fold_is_decided_by_the_threshold_of_the_others() -> None:
    """Each fold alone could be told apart wholly; the others' threshold decides half of it."""
    scores = np.array([0.9, 0.8, 0.5, 0.4])
    found = ten_fold_any_range(scores, np.array([True, False, True, False]), folds=2)
    np.testing.assert_allclose(found.threshold_by_fold, [0.45, 0.85])
    assert found.correct.tolist() == [True, False, False, True]
    assert found.accuracy == 0.5
