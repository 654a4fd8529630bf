"""Combined scores: the specification's rule, its fallback, and the calibrated one."""

from __future__ import annotations

import numpy as np
import pytest

from oaml_core.config import EvaluateConfig
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.scoring.combine import (
    calibrated_scores,
    combined_rule,
    combined_scores,
    fit_logistic,
    normalisation_of,
)
from oaml_core.evaluation.scoring.scores import PairScores
from oaml_core.evaluation.statistics.protocols import ten_fold_any_range

PAIRS = 1000


def drawn_scores(separation_global: float, separation_local: float, seed: int = 0) -> tuple[PairScores, np.ndarray]:
    generator = np.random.default_rng(seed)
    issame = np.arange(PAIRS) % 2 == 0
    zeros = np.zeros(PAIRS)
    scores = PairScores(
        global_score=0.1 * (generator.normal(0, 1, PAIRS) + separation_global * issame),
        local_score=30 + 20 * (generator.normal(0, 1, PAIRS) + separation_local * issame),
        visible_share=np.ones(PAIRS),
        covered_share=zeros,
        hidden_intersection=zeros,
        hidden_union=zeros,
        map_error=zeros,
        reliability=np.zeros((PAIRS, 3, 10)),
    )
    return scores, issame


def test_two_equally_good_scores_are_better_together():
    scores, issame = drawn_scores(2.0, 2.0)
    rule = combined_rule(scores, 0.84, EvaluateConfig())
    combined = ten_fold_any_range(combined_scores(rule, scores), issame).accuracy

    assert not rule.fallback
    assert combined > ten_fold_any_range(scores.global_score, issame).accuracy + 0.03
    assert combined > ten_fold_any_range(scores.local_score, issame).accuracy + 0.03


def test_weights_come_from_the_configuration():
    scores, _ = drawn_scores(2.0, 2.0)
    rule = combined_rule(scores, 0.84, EvaluateConfig(adaface_weight=1.0, qaconv_weight=0.0))
    assert np.corrcoef(combined_scores(rule, scores), scores.global_score)[0, 1] == pytest.approx(1.0)


def test_a_local_score_worse_than_a_coin_counts_one_fifth():
    scores, _ = drawn_scores(2.0, 0.0)
    rule = combined_rule(scores, 0.49, EvaluateConfig())
    assert rule.fallback
    assert (rule.global_weight, rule.local_weight) == (0.8, 0.2)
    assert not combined_rule(scores, 0.5, EvaluateConfig()).fallback


def test_normalisation_knows_no_labels_and_ignores_the_unit():
    scores, _ = drawn_scores(2.0, 2.0)
    rescaled = scores._replace(local_score=1000 * scores.local_score - 5)
    first = combined_scores(combined_rule(scores, 0.9, EvaluateConfig()), scores)
    second = combined_scores(combined_rule(rescaled, 0.9, EvaluateConfig()), rescaled)
    np.testing.assert_allclose(first, second, atol=1e-9)


def test_a_constant_score_adds_nothing_and_breaks_nothing():
    scores, _ = drawn_scores(2.0, 2.0)
    constant = scores._replace(local_score=np.full(PAIRS, 3.0))
    combined = combined_scores(combined_rule(constant, 0.5, EvaluateConfig()), constant)
    assert np.corrcoef(combined, scores.global_score)[0, 1] == pytest.approx(1.0)


def test_a_diverged_model_is_named():
    scores, _ = drawn_scores(2.0, 2.0)
    broken = scores._replace(local_score=np.where(np.arange(PAIRS) == 3, np.nan, scores.local_score))
    with pytest.raises(EvaluationError, match="1 of 1000 local scores"):
        normalisation_of(broken)


def test_calibration_gives_a_useless_score_no_say():
    scores, issame = drawn_scores(3.0, 0.0)
    normalisation = normalisation_of(scores)
    calibrated = calibrated_scores({"clean": scores}, issame, normalisation)["clean"]

    alone = ten_fold_any_range(scores.global_score, issame).accuracy
    assert ten_fold_any_range(calibrated, issame).accuracy >= alone - 0.005


def test_calibration_of_a_fold_never_sees_its_labels():
    scores, issame = drawn_scores(1.0, 1.0)
    normalisation = normalisation_of(scores)
    flipped = issame.copy()
    flipped[:100] = ~flipped[:100]  # the first of ten folds

    original = calibrated_scores({"clean": scores}, issame, normalisation)["clean"]
    after = calibrated_scores({"clean": scores}, flipped, normalisation)["clean"]

    np.testing.assert_array_equal(original[:100], after[:100])
    assert not np.allclose(original[100:], after[100:])


def test_logistic_regression_finds_the_weights_that_drew_the_labels():
    generator = np.random.default_rng(0)
    x = np.column_stack([np.ones(50_000), generator.normal(size=(50_000, 2))])
    weights = np.array([0.3, 1.5, -0.7])
    y = generator.random(50_000) < 1 / (1 + np.exp(-x @ weights))

    np.testing.assert_allclose(fit_logistic(x, y), weights, atol=0.05)


def test_separable_labels_keep_the_weights_finite():
    x = np.column_stack([np.ones(20), np.linspace(-1, 1, 20)])
    assert np.isfinite(fit_logistic(x, x[:, 1] > 0)).all()
