"""Fusion of a pair's evidence: monotone, honest about who it was fitted on, and held at one threshold."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from simulated import simulated_set

from oaml_core.config import EvaluateConfig
from oaml_core.evaluation.scoring.combine import normalisation_of
from oaml_core.evaluation.scoring.fuse import FEWEST, evidence_of, fit_fusion, fit_monotone, fuse
from oaml_core.evaluation.scoring.identities import PairIdentities, everybody_once
from oaml_core.evaluation.scoring.scores import PairScores
from oaml_core.evaluation.statistics.protocols import ten_fold_any_range
from oaml_core.evaluation.statistics.roc import roc, tar_at_far
from oaml_core.evaluation.verdict.judge import judge_set
from oaml_core.evaluation.verdict.metrics_json import metrics
from oaml_core.evaluation.verdict.results import Evaluation
from oaml_core.inference.fusion import Evidence, Fusion, pair_quality, region_shares, region_weights

PAIRS = 4000
EYES, MOUTH = 1, 3


def drawn(hidden: int | None, seed: int, inflated: float = 0.0) -> tuple[PairScores, np.ndarray]:
    """Pairs whose eyes or mouth are hidden.

    Hiding the eyes ruins the local score, hiding the mouth the global one; `inflated` is what it adds to everybody's
    local scores.
    """
    generator = np.random.default_rng(seed)
    issame = np.arange(PAIRS) % 2 == 0
    regions = np.clip(generator.normal(0.97, 0.02, (PAIRS, 4)), 0, 1)
    strength = np.array([4.0, 4.0])
    if hidden is not None:
        regions[:, hidden] = np.clip(generator.normal(0.1, 0.05, PAIRS), 0, 1)
        strength = np.array([3.0, 0.2]) if hidden == EYES else np.array([0.8, 3.0])
    zeros = np.zeros(PAIRS)
    one, other = (generator.normal(0, 1, PAIRS) + s * issame for s in strength)
    scores = PairScores(
        global_score=0.1 * one,
        local_score=20 * (other + inflated) + 7,
        visible_share=regions.mean(1),
        covered_share=zeros,
        hidden_intersection=zeros,
        hidden_union=zeros,
        map_error=zeros,
        reliability=np.zeros((PAIRS, 3, 10)),
        regions=regions,
        quality=generator.normal(3.0, 0.1, PAIRS),
    )
    return scores, issame


@pytest.fixture(scope="module")
def covered() -> tuple[dict[str, PairScores], np.ndarray]:
    conditions = {"clean": drawn(None, 0)[0], "mask": drawn(MOUTH, 1, 0.8)[0], "glasses": drawn(EYES, 2, 0.8)[0]}
    return conditions, drawn(None, 0)[1]


def whole(conditions: dict[str, PairScores], issame: np.ndarray) -> Fusion:
    normalisation = normalisation_of(conditions["clean"])
    return fit_fusion([evidence_of(scores) for scores in conditions.values()], issame, normalisation)


def test_it_trusts_the_score_that_what_is_visible_speaks_through(covered):
    conditions, issame = covered
    found = fuse(conditions, issame, everybody_once(issame), normalisation_of(conditions["clean"]))
    assert found is not None
    for name, best in (("mask", "local_score"), ("glasses", "global_score")):
        fused = ten_fold_any_range(found.scores[name], issame).accuracy
        equal = normalisation_of(conditions["clean"]).apply(conditions[name].global_score, conditions[name].local_score)
        assert fused > ten_fold_any_range(equal[0] + equal[1], issame).accuracy + 0.01
        assert fused >= ten_fold_any_range(getattr(conditions[name], best), issame).accuracy - 0.005


def test_one_threshold_holds_where_fixed_weights_leak(covered):
    conditions, issame = covered
    normalisation = normalisation_of(conditions["clean"])
    found = fuse(conditions, issame, everybody_once(issame), normalisation)
    assert found is not None
    fixed = {name: sum(normalisation.apply(s.global_score, s.local_score)) for name, s in conditions.items()}
    leaked, held = ({name: far_at_clean(values, issame)[name] for name in values} for values in (fixed, found.scores))
    assert leaked["mask"] > 0.02
    for name in ("mask", "glasses"):
        assert 0.004 < held[name] < 0.017


def far_at_clean(values: dict[str, np.ndarray], issame: np.ndarray) -> dict[str, float]:
    (point,) = tar_at_far(roc(values["clean"], issame), [0.01])
    return {name: float((scores[~issame] >= point.threshold).mean()) for name, scores in values.items()}


def test_log_likelihood_ratios_mean_what_they_say(covered):
    conditions, issame = covered
    found = fuse(conditions, issame, everybody_once(issame), normalisation_of(conditions["clean"]))
    assert found is not None
    ratios = np.concatenate(list(found.ratios.values()))
    labels = np.tile(issame, len(conditions))
    near = np.abs(ratios - 1.0) < 0.5
    # As many genuine as impostor pairs: the odds are the ratio.
    assert np.log(labels[near].sum() / (~labels[near]).sum()) == pytest.approx(1.0, abs=0.4)


@pytest.mark.parametrize("which", ["global_score", "local_score"])
def test_a_higher_score_never_speaks_against_a_pair(which):
    # A local score that is wrong on purpose: genuine pairs score lower.
    scores, issame = drawn(None, 0)
    wrong = scores._replace(local_score=-scores.local_score)
    for conditions in ({"clean": scores}, {"clean": wrong, "eyes": drawn(EYES, 3)[0]}):
        fusion = whole(conditions, issame)
        generator = np.random.default_rng(4)
        evidence = Evidence(
            generator.normal(0, 0.3, 300), generator.normal(0, 60, 300), generator.random((300, 4)), np.full(300, 3.0)
        )
        higher = evidence._replace(**{which: getattr(evidence, which) + 5.0})
        assert (fusion.log_likelihood_ratio(higher) >= fusion.log_likelihood_ratio(evidence) - 1e-9).all()
        assert (fusion.score(higher) >= fusion.score(evidence) - 1e-9).all()


@pytest.mark.parametrize("grouped", [True, False])
def test_nobody_is_scored_by_a_fusion_that_saw_them(grouped):
    scores, issame = drawn(None, 0)
    generator = np.random.default_rng(5)
    people = 400
    first = generator.integers(people, size=PAIRS)
    # Grouped: strangers only within tens of people, so that groups can stay whole.
    shift = generator.integers(1, 10, size=PAIRS)
    other = first // 10 * 10 + (first + shift) % 10 if grouped else (first + 10 * shift + 1) % people
    second = np.where(issame, first, other)
    identities = PairIdentities(first, second, "given", "")
    normalisation = normalisation_of(scores)
    theirs = (first == 7) | (second == 7)
    before = fuse({"clean": scores}, issame, identities, normalisation)
    after = fuse({"clean": scores}, np.where(theirs, ~issame, issame), identities, normalisation)
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(before.scores["clean"][theirs], after.scores["clean"][theirs])
    np.testing.assert_array_equal(before.ratios["clean"][theirs], after.ratios["clean"][theirs])
    assert not np.allclose(before.scores["clean"][~theirs], after.scores["clean"][~theirs], atol=1e-6)


def test_a_condition_can_be_scored_by_fusions_that_never_saw_it(covered):
    conditions, issame = covered
    people, normalisation = everybody_once(issame), normalisation_of(conditions["clean"])
    out = {"glasses": ["glasses", "mask"]}
    ruined = {**conditions, "mask": conditions["mask"]._replace(local_score=-conditions["mask"].local_score)}
    found, again, seen = (
        fuse(c, issame, people, normalisation, h) for c, h in ((conditions, out), (ruined, out), (ruined, None))
    )
    assert found is not None
    assert again is not None
    assert seen is not None
    np.testing.assert_array_equal(found.scores["glasses"], again.scores["glasses"])
    assert not np.allclose(found.scores["glasses"], seen.scores["glasses"])
    assert not np.allclose(found.scores["clean"], again.scores["clean"])


def test_too_few_people_fit_nothing_and_the_calibrated_score_is_the_combined_one():
    scores, issame = drawn(None, 0)
    few = PairScores(*(None if column is None else column[: 2 * FEWEST] for column in scores))
    config = EvaluateConfig(far=(0.1,), fusion="llr")
    result = judge_set("small", {"clean": few}, issame[: 2 * FEWEST], config)
    assert result.fusion is None
    assert result.decision == "combined"
    assert result.conditions["clean"].scores["calibrated"].accuracy > 0.9


@pytest.mark.parametrize(("fusion", "decision"), [("fixed", "combined"), ("llr", "calibrated")])
def test_the_configuration_says_what_decides(fusion, decision):
    scores, issame = drawn(None, 0)
    result = judge_set("set", {"clean": scores}, issame, EvaluateConfig(far=(0.1,), fusion=fusion))
    assert result.decision == decision
    stored = metrics(Evaluation({"set": result}))["sets"]["set"]
    assert stored["decision"] == decision
    again = Fusion.stored(json.loads(json.dumps(stored["fusion"])))
    np.testing.assert_array_equal(again.score(evidence_of(scores)), result.fusion.score(evidence_of(scores)))


def test_real_fars_by_visible_share_cover_all_pairs():
    result = simulated_set("lfw")
    for bins in result.by_visible_share.values():
        rates = sorted({one.far for one in bins})
        assert [one.far for one in bins] == [rate for rate in rates for _ in range(len(bins) // len(rates))]
        for rate in rates:
            assert sum(one.impostors for one in bins if one.far == rate) == 300 * len(result.conditions)
        for stricter, laxer in itertools.pairwise(rates):
            fewer, more = ([one.tar for one in bins if one.far == rate] for rate in (stricter, laxer))
            assert all(a is None or a.difference <= b.difference for a, b in zip(fewer, more, strict=True))
        assert all((one.real_far is None) == (one.impostors == 0) for one in bins)


def test_regions_are_where_an_aligned_face_has_them():
    for rows in (7, 14, 28):
        weights = region_weights(rows)
        np.testing.assert_allclose(weights.sum(1), 1.0)
        visible = np.ones((1, 1, rows, rows))
        lines = (np.arange(rows) + 0.5) / rows * 112
        visible[:, :, (lines > 40) & (lines < 62)] = 0.0  # what sunglasses cover
        forehead, eyes, nose, mouth = region_shares(visible, np.ones_like(visible))[0]
        assert eyes < 0.5
        assert min(nose, mouth) > 0.75
        assert forehead > 0.75


def test_unknown_norms_count_as_ordinary_ones():
    scores, issame = drawn(None, 0)
    fusion = whole({"clean": scores}, issame)
    unknown = evidence_of(scores)._replace(quality=pair_quality(np.empty(0), np.ones(1)))
    ordinary = evidence_of(scores)._replace(quality=np.full(PAIRS, fusion.quality_mean))
    np.testing.assert_allclose(fusion.score(unknown), fusion.score(ordinary))


def apart(generator):
    """Return regressors that vary independently."""
    return np.column_stack([np.ones(500), generator.normal(size=(500, 4))]), [0.2, 1.0, -0.8, 0.5, -0.1]


def alike(generator):
    """Return regressors so alike that the first step raises weights which later ones must lower again."""
    one = generator.normal(size=500)
    other = one + 0.3 * generator.normal(size=500)
    rest = one - other + 0.5 * generator.normal(size=500)
    return np.column_stack([np.ones(500), one, other, rest]), [0.1, 0.8, -0.3, 0.2]


@pytest.mark.parametrize(
    ("regressors", "free", "seed"),
    [(apart, (True, False, False, True, False), 6), (alike, (True, False, False, False), 1)],
)
def test_bounded_weights_are_those_of_a_general_solver(regressors, free, seed):
    from scipy.optimize import minimize

    generator = np.random.default_rng(seed)
    x, slopes = regressors(generator)
    y = generator.random(500) < 1 / (1 + np.exp(-x @ np.array(slopes)))
    weight = generator.random(500) + 0.5

    def loss(w):
        return weight @ np.logaddexp(0, -(x @ w) * np.where(y, 1, -1)) + 0.5 * w @ w

    bounds = [(None, None) if each else (0, None) for each in free]
    expected = minimize(loss, np.zeros(len(free)), bounds=bounds, tol=1e-12).x
    np.testing.assert_allclose(fit_monotone(x, y, weight, np.array(free)), expected, atol=1e-4)


def test_scores_without_regions_take_the_visible_share():
    scores, _ = drawn(None, 0)
    plain = scores._replace(regions=None, quality=None)
    np.testing.assert_array_equal(evidence_of(plain).regions, np.repeat(scores.visible_share[:, None], 4, axis=1))
