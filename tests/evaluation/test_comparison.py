"""Two models on the same pairs: what is shown, what may be chance, and what cannot be compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from oaml_core.config import Config, EvaluateConfig
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.scoring.stored import StoredSet, read_scores, write_scores
from oaml_core.evaluation.verdict.comparison import compare, mcnemar
from oaml_core.evaluation.verdict.evaluate import evaluate_model

PAIRS = 2000


def stored(accuracy: float, seed: int, digest: str = "a", conditions: tuple[str, ...] = ("clean",)) -> StoredSet:
    """A model that decides pairs rightly by chance."""
    generator = np.random.default_rng(seed)
    truth = np.arange(PAIRS) % 2 == 0
    values = {}
    for condition in conditions:
        right = generator.random(PAIRS) < accuracy
        scores = np.where(truth == right, 1.0, 0.0) + generator.normal(0, 0.01, PAIRS)
        values[condition] = {"global": scores.astype(np.float32), "combined": scores.astype(np.float32)}
    first = np.arange(PAIRS) * 2
    people = np.stack([first, np.where(truth, first, first + 1)]).astype(np.int32)
    return StoredSet(truth, people, digest, values)


def test_a_large_difference_is_shown_and_a_small_one_may_be_chance():
    good, bad = stored(0.95, 0), stored(0.90, 1)
    better = compare({"lfw": bad}, {"lfw": good}).of("lfw", "clean")
    worse = compare({"lfw": good}, {"lfw": bad}).of("lfw", "clean")
    assert better.verdict == "better"
    assert worse.verdict == "worse"
    assert better.low > 0 > worse.high
    assert better.difference == pytest.approx(better.challenger - better.champion)
    assert better.difference == -worse.difference
    assert (better.challenger_alone - better.champion_alone) / PAIRS == pytest.approx(better.difference)
    assert (
        compare({"lfw": stored(0.95, 0)}, {"lfw": stored(0.95, 2)}).of("lfw", "clean").verdict == "not distinguishable"
    )


def test_a_model_is_not_distinguishable_from_itself():
    same = compare({"lfw": stored(0.9, 0)}, {"lfw": stored(0.9, 0)}).of("lfw", "clean")
    assert (same.verdict, same.difference, same.p_value) == ("not distinguishable", 0, 1)
    assert all(tar.difference == 0 for tar in same.tar_at_far)


def test_verdicts_on_equal_models_are_seldom_wrong():
    wrong = sum(
        compare({"s": stored(0.9, seed)}, {"s": stored(0.9, 500 + seed)}, scores=("combined",), rates=())
        .of("s", "clean")
        .verdict
        != "not distinguishable"
        for seed in range(30)
    )
    assert wrong <= 4


def test_mcnemar_is_the_binomial_test_of_the_pairs_that_differ():
    assert mcnemar(0, 0) == 1
    assert mcnemar(5, 5) == 1
    assert mcnemar(1, 9) == pytest.approx(2 * binom.cdf(1, 10, 0.5))
    assert mcnemar(9, 1) == mcnemar(1, 9)


def test_what_cannot_be_compared_is_named():
    champion = {"lfw": stored(0.9, 0, conditions=("clean", "veil")), "agedb": stored(0.9, 1), "cfp": stored(0.9, 2)}
    challenger = {"lfw": stored(0.9, 3), "cfp": stored(0.9, 4, digest="other"), "extra": stored(0.9, 5)}
    found = compare(champion, challenger)
    assert [(d.set, d.condition) for d in found.differences] == [("lfw", "clean")] * 2
    assert [str(one) for one in found.incomparable] == [
        "lfw/veil: the challenger was not measured under it",
        "agedb: the challenger was not measured on it",
        "cfp: the champion was measured on other pairs of this name",
    ]


def test_stored_scores_decide_as_the_evaluation_did(model, pairs, tmp_path):
    config = Config(evaluate=EvaluateConfig(occluders=("veil",), block_shares=(), sides=("second",)))
    evaluation = evaluate_model(model, {"patterns": pairs}, config, examples=0)
    path = tmp_path / "scores.npz"
    write_scores(evaluation, path)
    read = read_scores(path)
    again = compare(read, read, scores=("global", "local", "combined", "calibrated"))
    for condition, found in evaluation.sets["patterns"].conditions.items():
        for score, result in found.scores.items():
            assert again.of("patterns", condition, score).champion == result.accuracy
    assert not list(tmp_path.glob(".*.tmp"))


def test_damaged_scores_are_named(tmp_path):
    path = tmp_path / "scores.npz"
    with pytest.raises(EvaluationError, match="There is no"):
        read_scores(path)
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(EvaluationError, match="Run `oaml evaluate` again"):
        read_scores(path)


def test_identities_widen_the_interval():
    champion, challenger = stored(0.93, 0), stored(0.95, 1)
    # Twenty people in all pairs: two thousand pairs say less.
    few = np.stack(
        [np.arange(PAIRS) % 20, np.where(champion.issame, np.arange(PAIRS) % 20, (np.arange(PAIRS) + 7) % 20)]
    )
    alone = compare({"s": champion}, {"s": challenger}, rates=()).of("s", "clean")
    shared = compare({"s": replace(champion, identities=few.astype(np.int32))}, {"s": challenger}, rates=()).of(
        "s", "clean"
    )
    assert shared.difference == alone.difference
    assert shared.high - shared.low != alone.high - alone.low
