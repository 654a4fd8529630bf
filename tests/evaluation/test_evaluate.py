"""A whole evaluation: sets × conditions × scores, metrics.json and the headline."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from oaml_core.config import Config, EvaluateConfig
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.scoring.scores import BINS, PairScores, score_pairs
from oaml_core.evaluation.verdict.evaluate import evaluate_model, validation_accuracy, validation_scores
from oaml_core.evaluation.verdict.judge import judge_set
from oaml_core.evaluation.verdict.metrics_json import headline, metrics, roc_points, write_metrics
from oaml_core.evaluation.verdict.results import SCORES

SECOND_ONLY = EvaluateConfig(occluders=("veil", "blocks"), block_shares=(), sides=("second",), far=(0.1, 1e-6))
CONFIG = Config(evaluate=SECOND_ONLY)


@pytest.fixture
def evaluation(model, pairs):
    return evaluate_model(model, {"patterns": pairs}, CONFIG, examples=8)


def test_every_condition_and_score_is_judged(evaluation):
    result = evaluation.sets["patterns"]
    assert list(result.conditions) == ["clean", "veil", "blocks"]
    for condition in result.conditions.values():
        assert tuple(condition.scores) == SCORES
        for score in condition.scores.values():
            assert 0 <= score.accuracy <= 1
            assert [point.measurable for point in score.tar_at_far] == [True, False]


def test_patterns_are_recognised_and_covering_costs_accuracy(evaluation):
    conditions = evaluation.sets["patterns"].conditions
    assert conditions["clean"].scores["global"].accuracy >= 0.95
    assert conditions["clean"].scores["global"].accuracy_published >= 0.95
    assert conditions["veil"].scores["global"].auc < conditions["clean"].scores["global"].auc


def test_two_evaluations_of_one_model_agree_exactly(model, pairs, evaluation):
    again = evaluate_model(model, {"patterns": pairs}, CONFIG, examples=0)
    for name, condition in again.sets["patterns"].conditions.items():
        np.testing.assert_array_equal(
            condition.pair_scores.global_score,
            evaluation.sets["patterns"].conditions[name].pair_scores.global_score,
        )


def test_metrics_json_is_strict_json_with_the_documented_keys(evaluation, tmp_path):
    path = tmp_path / "metrics.json"
    write_metrics(evaluation, path, {"fingerprint": "abc"})

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    found = json.loads(path.read_text(), parse_constant=refuse)
    assert found["schema"] == 2
    assert found["context"] == {"fingerprint": "abc"}
    patterns = found["sets"]["patterns"]
    assert (patterns["pairs"], patterns["genuine"], patterns["impostors"]) == (80, 40, 40)
    assert set(patterns["combined"]) == {"normalisation", "global_weight", "local_weight", "fallback"}
    score = patterns["conditions"]["blocks"]["scores"]["combined"]
    assert len(score["accuracy_by_fold"]) == 10
    assert score["tar_at_far"][1]["tar"] is None
    gain = score["against_global"]
    alone = patterns["conditions"]["blocks"]["scores"]["global"]
    assert alone["against_global"] is None
    assert gain["difference"] == pytest.approx(score["accuracy"] - alone["accuracy"])
    assert gain["low"] <= gain["difference"] <= gain["high"]
    assert sum(score["histogram"]["genuine"]) == 40
    assert not list(tmp_path.glob(".*.tmp"))


def test_roc_for_dashboards_is_short_and_finite(evaluation):
    for condition in evaluation.sets["patterns"].conditions.values():
        for score in condition.scores.values():
            points = roc_points(score.roc)
            assert len(points["fpr"]) == len(points["tpr"]) == len(points["threshold"]) <= 200
            assert all(math.isfinite(value) for column in points.values() for value in column)


def test_headline_has_at_most_eight_scalars_with_names_free_of_sets_and_occluders(evaluation):
    found = headline(evaluation)
    assert len(found) <= 8
    assert {"val_accuracy_clean_combined", "val_accuracy_occluded_combined"} <= set(found)
    conditions = evaluation.sets["patterns"].conditions
    expected = np.mean([conditions[name].scores["combined"].accuracy for name in ("veil", "blocks")])
    assert found["val_accuracy_occluded_combined"] == pytest.approx(expected)
    assert metrics(evaluation)["headline"] == found


def test_without_occluders_the_headline_says_nothing_about_them(model, pairs):
    config = Config(evaluate=EvaluateConfig(occluders=(), block_shares=()))
    found = headline(evaluate_model(model, {"patterns": pairs}, config, examples=0))
    assert set(found) == {f"val_accuracy_clean_{score}" for score in ("global", "local", "combined")}


def test_validation_accuracy_is_the_clean_accuracy_of_the_evaluation(model, pairs, evaluation):
    scores = validation_scores(score_pairs(model, pairs.images), pairs.issame, CONFIG.evaluate)
    found = validation_accuracy(scores, pairs.issame)
    clean = evaluation.sets["patterns"].conditions["clean"].scores
    assert found == {name: pytest.approx(clean[name].accuracy) for name in ("global", "local", "combined")}


def test_examples_show_typical_pairs_of_both_kinds(evaluation):
    typical = [example for example in evaluation.examples if example.kind == "typical"]
    assert len(typical) == 3
    assert {example.genuine for example in typical} == {True, False}
    numbers = [example.caption.rpartition(" ")[2] for example in evaluation.examples]
    assert len(set(numbers)) == len(numbers)
    for example in evaluation.examples:
        assert example.kind == "typical" or (example.kind == "false reject") == example.genuine


@pytest.mark.parametrize(
    ("values", "accuracy", "area"), [("perfect", 1.0, 1.0), ("tied", 0.5, 0.5), ("random", 0.5, 0.5)]
)
def test_hand_made_scores_of_a_whole_set(values, accuracy, area):
    issame = np.arange(2000) % 2 == 0
    generator = np.random.default_rng(0)
    scores = {"perfect": issame * 1.0, "tied": np.full(2000, 0.5), "random": generator.random(2000)}[values]
    nothing = np.zeros(2000)
    pairs = PairScores(scores, scores, nothing, nothing, nothing, nothing, nothing, np.zeros((2000, 3, BINS)))
    result = judge_set(values, {"clean": pairs}, issame, CONFIG.evaluate)
    for found in result.conditions["clean"].scores.values():
        assert found.accuracy == pytest.approx(accuracy, abs=0.03)
        assert found.auc == pytest.approx(area, abs=0.03)
        assert found.accuracy_interval.low <= found.accuracy <= found.accuracy_interval.high
    for missing in (np.ones(2000, bool), np.zeros(2000, bool)):
        with pytest.raises(EvaluationError, match=f"Verification set {values}: There is no"):
            judge_set(values, {"clean": pairs}, missing, CONFIG.evaluate)


def test_no_set_and_broken_scores_are_named(model, pairs):
    with pytest.raises(EvaluationError, match="no verification set"):
        evaluate_model(model, {}, CONFIG)
    scores = score_pairs(model, pairs.images)
    scores.local_score[5] = np.nan
    with pytest.raises(EvaluationError, match=r"Verification set lfw: 1 of 80 local scores \(clean\)"):
        judge_set("lfw", {"clean": scores}, pairs.issame, CONFIG.evaluate)
    with pytest.raises(EvaluationError, match="1 of 80 local scores"):
        validation_scores(scores, pairs.issame, CONFIG.evaluate)
