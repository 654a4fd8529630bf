"""VR@FAR by the published protocol, against the published code's own arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import interpolate

from oaml_core.errors import EvaluationError
from oaml_core.evaluation.statistics.protocols import squared_distances
from oaml_core.evaluation.statistics.published_rates import published_vr_at_far

REFERENCE = np.load(Path(__file__).parents[1] / "data" / "verification.npz")


def as_published(distances: np.ndarray, issame: np.ndarray, far: float) -> tuple[float, float, float]:
    """`calculate_val` in its own words: a threshold for each fold from a spline of degree 1.

    `interp1d(kind="slinear")` is such a spline; SciPy's newer releases refuse the equal rates that it is given.
    """
    thresholds = np.arange(0, 4, 0.001)
    vr, measured = [], []
    for test in np.array_split(np.arange(len(issame)), 10):
        train = np.setdiff1d(np.arange(len(issame)), test)
        impostors = distances[train][~issame[train]]
        rates = np.array([np.less(impostors, t).sum() / len(impostors) for t in thresholds])
        spline = interpolate.BSpline(np.r_[rates[0], rates, rates[-1]], thresholds, 1)
        threshold = spline(far) if rates.max() >= far else 0.0
        accepts = np.less(distances[test], threshold)
        vr.append(accepts[issame[test]].mean())
        measured.append(accepts[~issame[test]].mean())
    return float(np.mean(vr)), float(np.std(vr)), float(np.mean(measured))


def noisy(seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    issame = generator.random(900) < 0.5
    return np.clip(np.where(issame, 1.1, 1.6) + 0.25 * generator.standard_normal(900), 0, 4), issame


@pytest.mark.parametrize("far", [1e-3, 0.003, 0.01, 0.1])
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_rates_are_the_published_ones(far: float, seed: int | None) -> None:
    stored = squared_distances(REFERENCE["embeddings"]), REFERENCE["issame"].astype(bool)
    distances, issame = stored if seed is None else noisy(seed)
    found = published_vr_at_far(distances, issame, far)
    assert (found.vr, found.vr_std, found.far_measured) == pytest.approx(
        as_published(distances, issame, far), abs=1e-12
    )


def test_a_fold_without_genuine_pairs_counts_as_zero() -> None:
    distances = np.concatenate([np.full(10, 0.5), np.linspace(1, 2, 90)])
    found = published_vr_at_far(distances, np.arange(100) < 10, 0.1)
    assert found.vr == pytest.approx(0.1)


def test_fewer_pairs_than_folds_are_cut_into_as_many_as_there_are() -> None:
    found = published_vr_at_far(np.array([0.1, 1.0, 0.2]), np.array([True, False, True]))
    assert found.vr == pytest.approx(2 / 3)


def test_pairs_of_one_kind_alone_are_refused() -> None:
    with pytest.raises(EvaluationError, match="no impostor pair"):
        published_vr_at_far(np.array([0.1, 0.2]), np.array([True, True]))
