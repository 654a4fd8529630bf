"""VR@FAR as it is published for LFW-style sets: interpolated per fold on a grid of thresholds.

The protocol is `calculate_val` of facenet, insightface and AdaFace (`evaluate_utils.py`). It reads a threshold for the
FAR off nine folds, between two grid points where need be, and judges the tenth. `tar_at_far` of
`oaml_core.evaluation.statistics.roc` is the exact rate over all pairs; tables of other people hold this one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oaml_core.data.sources.verification import folds_of
from oaml_core.evaluation.statistics.protocols import checked_pairs, fold_numbers

VALIDATION_THRESHOLDS: NDArray[np.float64] = np.arange(0, 4, 0.001)
"""Thresholds on the squared L2 distance of unit embeddings."""


@dataclass(frozen=True)
class PublishedRate:
    """VR@FAR by the published protocol, means over the folds."""

    far: float
    """The rate asked for."""
    vr: float
    """Genuine pairs of the test folds that are accepted, in [0, 1]."""
    vr_std: float
    """Standard deviation of `vr` over the folds."""
    far_measured: float
    """Impostor pairs of the test folds that are accepted, in [0, 1]."""


def published_vr_at_far(
    distances: ArrayLike,
    issame: ArrayLike,
    far: float = 1e-3,
    folds: int | None = None,
    thresholds: NDArray[np.float64] = VALIDATION_THRESHOLDS,
) -> PublishedRate:
    """Return VR@FAR as published: a pair is accepted if its distance is below the fold's threshold.

    Folds without genuine pairs count as VR 0, and those without impostor pairs as FAR 0.

    Args:
        distances: [N] squared L2 distances of unit embeddings, in [0, 4].
        issame: [N], true for genuine pairs.
        far: false accept rate in (0, 1).
        folds: number of consecutive blocks.
        thresholds: [T], ascending.

    Raises:
        EvaluationError: see `checked_pairs` and `fold_numbers`.
    """
    values, labels = checked_pairs(distances, issame, "distances")
    folds = folds_of(values.size) if folds is None else folds
    fold = fold_numbers(values.size, folds)
    accepted, measured = np.empty(folds), np.empty(folds)
    for k in range(folds):
        test = fold == k
        threshold = _threshold(values[~test & ~labels], far, thresholds)
        accepts = values < threshold
        accepted[k], measured[k] = _share(accepts[test & labels]), _share(accepts[test & ~labels])
    return PublishedRate(far, float(accepted.mean()), float(accepted.std()), float(measured.mean()))


def _threshold(impostors: NDArray[np.float64], far: float, thresholds: NDArray[np.float64]) -> float:
    """Threshold where the impostors' accepted share is `far`, on straight lines between grid points; 0 if none is."""
    rates = np.searchsorted(np.sort(impostors), thresholds, side="left") / max(1, impostors.size)
    if rates[-1] < far:
        return 0.0
    # Of grid points with equal rates the last one starts the line, as a spline of degree 1 reads them.
    below = int(np.searchsorted(rates, far, side="right")) - 1
    if below < 0 or below + 1 == rates.size:
        return float(thresholds[max(0, below)])
    share = (far - rates[below]) / (rates[below + 1] - rates[below])
    return float(thresholds[below] + share * (thresholds[below + 1] - thresholds[below]))


def _share(accepts: NDArray[np.bool_]) -> float:
    return float(accepts.mean()) if accepts.size else 0.0
