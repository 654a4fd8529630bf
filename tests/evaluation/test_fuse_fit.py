"""Fits of a fusion: classes count alike, quality is measured from its mean, the spread of impostors is found."""

from __future__ import annotations

import numpy as np
import pytest
from test_fuse import EYES, MOUTH, PAIRS, drawn, whole

from oaml_core.evaluation.scoring.combine import normalisation_of
from oaml_core.evaluation.scoring.fuse import evidence_of, fit_fusion, fuse, upper_spread
from oaml_core.evaluation.scoring.identities import PairIdentities
from oaml_core.evaluation.scoring.scores import PairScores
from oaml_core.inference.fusion import FREE, SLOPES, Evidence


def test_ratios_do_not_depend_on_how_many_pairs_are_genuine():
    scores, issame = drawn(EYES, 2)
    evidence, normalisation = evidence_of(scores), normalisation_of(scores)
    all_pairs = fit_fusion([evidence], issame, normalisation).log_likelihood_ratio(evidence)
    kept = np.concatenate([np.flatnonzero(~issame), np.flatnonzero(issame)[:400]])
    fewer = fit_fusion([Evidence(*(column[kept] for column in evidence))], issame[kept], normalisation)
    # Without weights of the classes the ratios would lie log(5) = 1.6 lower.
    assert (fewer.log_likelihood_ratio(evidence) - all_pairs).mean() == pytest.approx(0.0, abs=0.4)


def test_quality_is_measured_from_its_mean():
    scores, issame = drawn(None, 0)
    fusion = whole({"clean": scores, "mask": drawn(MOUTH, 1)[0]}, issame)
    both = np.concatenate([scores.quality, drawn(MOUTH, 1)[0].quality])
    assert fusion.quality_mean == pytest.approx(both.mean())
    assert fusion.quality_std == pytest.approx(both.std())
    constant = whole({"clean": scores._replace(quality=np.full(PAIRS, 3.0))}, issame)
    assert (constant.quality_mean, constant.quality_std) == (3.0, 1.0)


@pytest.mark.parametrize("hidden", [None, EYES, MOUTH])
def test_no_score_speaks_against_a_pair_in_any_region(hidden):
    scores, issame = drawn(hidden, 0)
    wrong = scores._replace(global_score=-scores.global_score, local_score=-scores.local_score)
    fusion = whole({"clean": wrong}, issame)
    assert [len(part) for part in (fusion.free, fusion.global_slopes, fusion.local_slopes)] == [FREE, SLOPES, SLOPES]
    assert min(*fusion.global_slopes, *fusion.local_slopes) >= 0.0


def test_spreads_above_the_middle_are_found():
    generator = np.random.default_rng(3)
    context = np.column_stack([np.ones(20_000), generator.uniform(0, 1, 20_000)])
    scale = np.exp(context @ [-0.5, 1.0])
    values = context @ [2.0, -3.0] + scale * generator.normal(size=20_000)
    location, log_scale = upper_spread(context, 1000 * values)
    np.testing.assert_allclose(location / 1000, [2.0, -3.0], atol=0.06)
    np.testing.assert_allclose(log_scale - [np.log(1000), 0.0], [-0.5, 1.0], atol=0.06)
    small = upper_spread(context[:40], np.linspace(0, 1, 40))
    ridge = np.linalg.solve(context[:40].T @ context[:40] + np.eye(2), context[:40].T @ np.linspace(0, 1, 40))
    np.testing.assert_allclose(small[0], ridge)


def test_values_that_do_not_spread_have_the_scale_one():
    context = np.column_stack([np.ones(50), np.arange(50.0)])
    _, log_scale = upper_spread(context, np.zeros(50))
    np.testing.assert_array_equal(log_scale, 0.0)
    _, log_scale = upper_spread(np.ones((5, 1)), np.zeros(5))
    np.testing.assert_array_equal(log_scale, 0.0)


@pytest.mark.parametrize(("fewest", "fits"), [(48, True), (49, False)])
def test_as_many_pairs_as_stated_are_enough(fewest, fits, monkeypatch):
    monkeypatch.setattr("oaml_core.evaluation.scoring.fuse.FEWEST", fewest)
    # Five groups of people, each a fold, with 12 pairs of each kind: 48 are left where one is scored.
    issame = np.arange(120) % 2 == 0
    group, place = np.divmod(np.arange(120), 24)
    first = 100 * group + place // 2
    second = np.where(issame, first, 100 * group + (place // 2 + 1) % 12)
    scores = PairScores(*(None if column is None else column[:120] for column in drawn(None, 0)[0]))
    found = fuse({"clean": scores}, issame, PairIdentities(first, second, "given", ""), normalisation_of(scores))
    assert (found is not None) == fits
