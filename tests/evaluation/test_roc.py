"""ROC, AUC, EER and TAR at FAR on cases that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from oaml_core.errors import EvaluationError
from oaml_core.evaluation.statistics.roc import auc, eer, roc, tar_at_far, thinned


def random_scores(pairs: int = 2000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    issame = generator.random(pairs) < 0.5
    return generator.normal(issame * 1.5, 1.0), issame


def test_hand_made_case():
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    issame = np.array([True, True, False, True, False, False])
    curve = roc(scores, issame)

    np.testing.assert_allclose(curve.far, [0, 0, 0, 1 / 3, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(curve.tar, [0, 1 / 3, 2 / 3, 2 / 3, 1, 1, 1])
    assert auc(curve) == pytest.approx(8 / 9)
    assert eer(curve) == pytest.approx(1 / 3)


def test_perfect_and_tied_scores():
    issame = np.tile([True, False], 20)
    perfect, tied = roc(issame * 1.0, issame), roc(np.zeros(40), issame)

    assert (auc(perfect), eer(perfect)) == (1.0, 0.0)
    assert (auc(tied), eer(tied)) == (0.5, 0.5)
    assert np.isfinite(tied.threshold).all()


def test_area_is_the_chance_that_a_genuine_pair_wins():
    scores, issame = random_scores(400)
    scores = np.round(scores, 1)  # with ties
    wins = scores[issame][:, None] - scores[~issame][None, :]
    assert auc(roc(scores, issame)) == pytest.approx(np.mean((wins > 0) + 0.5 * (wins == 0)))


def test_tar_at_far_admits_no_more_impostors_than_the_rate():
    scores, issame = random_scores()
    impostors = int((~issame).sum())
    for point in tar_at_far(roc(scores, issame), [0.5, 0.1, 0.01, 1 / impostors]):
        accepted = scores >= point.threshold
        assert accepted[~issame].mean() <= point.far + 1e-12
        assert point.tar == accepted[issame].mean()
        assert point.measured_far == accepted[~issame].mean()
        # One impostor more would be too many: the threshold is the loosest one.
        assert (np.sum(accepted[~issame]) + 1) / impostors > point.far


def test_rates_that_too_few_impostors_cannot_measure_are_said_to_be_so():
    scores, issame = random_scores(1200)
    measurable, too_small = tar_at_far(roc(scores, issame), [1e-2, 1e-6])

    assert measurable.measurable
    assert not too_small.measurable
    assert too_small.tar is None
    assert too_small.smallest_far == pytest.approx(1 / (~issame).sum())
    assert "1,000,000 impostor pairs" in str(too_small)


def test_tied_impostors_are_accepted_together_or_not_at_all():
    scores = np.array([0.9, 0.8, 0.5, 0.5, 0.5, 0.1])
    issame = np.array([True, True, False, False, False, False])
    (point,) = tar_at_far(roc(scores, issame), [0.5])

    assert point.measured_far == 0.0
    assert point.tar == 1.0


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(EvaluationError, match=r"evaluate\.far"):
        tar_at_far(roc(*random_scores(50)), [rate])


def test_thinned_curve_keeps_measured_points_only():
    curve = roc(*random_scores(20_000))
    thin = thinned(curve, 200)

    assert len(thin.far) <= 200
    assert len(thin.far) > 100
    points = set(zip(curve.far, curve.tar, curve.threshold, strict=True))
    assert set(zip(thin.far, thin.tar, thin.threshold, strict=True)) <= points
    assert (thin.far[0], thin.tar[0], thin.far[-1], thin.tar[-1]) == (0, 0, 1, 1)
    assert abs(auc(thin) - auc(curve)) < 0.005


def test_short_curves_lose_nothing_but_straight_runs():
    curve = roc(*random_scores(100))
    assert auc(thinned(curve)) == pytest.approx(auc(curve))
