"""TAR and real FAR at one threshold for every condition, as a deployed model decides.

A threshold of each condition's own impostor pairs says how well a score could tell people apart. A deployed model has
one threshold, set before anybody knows what covers the next face. It is set here on clean pairs, or on the pooled mix
of all conditions, every pair counting once per condition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from oaml_core.evaluation.statistics.bootstrap import IdentityBootstrap, Interval
from oaml_core.evaluation.statistics.protocols import Bools, Floats
from oaml_core.evaluation.statistics.roc import roc, tar_at_far
from oaml_core.evaluation.statistics.seed import SEED

SetOn = Literal["clean", "pooled"]
"""Pairs that a threshold is set on."""
SET_ON: tuple[SetOn, ...] = ("clean", "pooled")
SHARE_BINS = 5
"""Bins of visible share, equally wide."""


@dataclass(frozen=True)
class OneThreshold:
    """One score under one condition at a threshold that was set on other pairs too."""

    set_on: SetOn
    far: float
    """False accept rate asked for on the pairs that the threshold was set on."""
    threshold: float
    tar: Interval
    """Share of the condition's genuine pairs accepted, with its 95 % interval over people."""
    real_far: Interval
    """Share of the condition's impostor pairs accepted, likewise. The threshold is the same in all resamples."""


def set_thresholds(
    values: Mapping[str, Floats], issame: Bools, rates: Sequence[float], clean: str = "clean"
) -> list[tuple[SetOn, float, float]]:
    """Set thresholds on clean pairs and on the pooled mix of all conditions.

    Args:
        values: [N] scores of the same pairs by condition; `clean` is among them.
        issame: [N], true for genuine pairs.
        rates: false accept rates; those that the pairs cannot measure are left out.
        clean: name of the clean condition.

    Returns:
        What it was set on, rate and threshold.
    """
    pooled = np.concatenate(list(values.values())), np.tile(issame, len(values))
    found: list[tuple[SetOn, float, float]] = []
    # The mix repeats the same pairs: a rate that they cannot measure alone is not measured by their repetition.
    measurable = [rate for rate in rates if np.floor(rate * int((~issame).sum()) + 1e-6) >= 1]
    for name, (scores, labels) in zip(SET_ON, ((values[clean], issame), pooled), strict=True):
        points = tar_at_far(roc(scores, labels), measurable)
        found += [(name, point.far, point.threshold) for point in points if point.threshold is not None]
    return found


def at_one_threshold(
    values: Mapping[str, Floats],
    issame: Bools,
    rates: Sequence[float],
    bootstrap: IdentityBootstrap,
    clean: str = "clean",
) -> dict[str, list[OneThreshold]]:
    """Judge one score under every condition at the thresholds of `set_thresholds`.

    Args:
        values: [N] scores of the same pairs by condition; `clean` is among them.
        issame: [N], true for genuine pairs.
        rates: false accept rates.
        bootstrap: resamples of the people in the pairs.
        clean: name of the clean condition.

    Returns:
        Results by condition, in the order of `set_thresholds`.
    """
    thresholds = set_thresholds(values, issame, rates, clean)
    if not thresholds:
        return {condition: [] for condition in values}
    levels = np.array([threshold for _, _, threshold in thresholds])
    return {condition: _judged(scores, issame, thresholds, levels, bootstrap) for condition, scores in values.items()}


def _judged(
    scores: Floats,
    issame: Bools,
    thresholds: Sequence[tuple[SetOn, float, float]],
    levels: Floats,
    bootstrap: IdentityBootstrap,
) -> list[OneThreshold]:
    accepted = scores[:, None] >= levels
    tar, far = (
        [
            Interval.of(float(found), drawn)
            for found, drawn in zip(accepted[among].mean(0), bootstrap.shares(accepted, among).T, strict=True)
        ]
        for among in (issame, ~issame)
    )
    return [
        OneThreshold(*threshold, tar=one, real_far=other)
        for threshold, one, other in zip(thresholds, tar, far, strict=True)
    ]


@dataclass(frozen=True)
class ShareBin:
    """Pairs of all conditions whose visible share lies in one bin, at one threshold set on the clean pairs."""

    low: float
    high: float
    """Ends of the bin of visible share."""
    genuine: int
    impostors: int
    far: float
    """False accept rate asked for on the clean pairs."""
    tar: Interval | None
    """None without genuine pairs."""
    real_far: Interval | None
    """None without impostor pairs."""


def by_visible_share(
    values: Mapping[str, Floats],
    shares: Mapping[str, Floats],
    issame: Bools,
    rates: Sequence[float],
    people: tuple[NDArray[np.int64], NDArray[np.int64]],
    clean: str = "clean",
) -> list[ShareBin]:
    """Judge one score by bins of what is visible, at every measurable rate, the lowest first; empty if there is none.

    Args:
        values: [N] scores of the same pairs by condition.
        shares: [N] visible shares by condition.
        issame: [N], true for genuine pairs.
        rates: false accept rates.
        people: [N] identity numbers of the first and of the second images.
        clean: name of the clean condition.
    """
    thresholds = [one for one in set_thresholds(values, issame, rates, clean) if one[0] == "clean"]
    if not thresholds:
        return []
    thresholds.sort(key=lambda one: one[1])
    labels = np.tile(issame, len(values))
    share = np.concatenate([shares[name] for name in values])
    scores = np.concatenate(list(values.values()))
    first, second = (np.tile(numbers, len(values)) for numbers in people)
    bootstrap = IdentityBootstrap(first, second, labels, np.random.default_rng(SEED))
    number = np.clip((share * SHARE_BINS).astype(np.int64), 0, SHARE_BINS - 1)
    inside = number[:, None] == np.arange(SHARE_BINS)
    counts = [(inside & among[:, None]).sum(0) for among in (labels, ~labels)]
    found = []
    for _, far, threshold in thresholds:
        tar, real_far = (_rates_in(inside, scores >= threshold, among, bootstrap) for among in (labels, ~labels))
        found += [
            ShareBin(
                k / SHARE_BINS, (k + 1) / SHARE_BINS, int(counts[0][k]), int(counts[1][k]), far, tar[k], real_far[k]
            )
            for k in range(SHARE_BINS)
        ]
    return found


def _rates_in(inside: Bools, accepted: Bools, among: Bools, bootstrap: IdentityBootstrap) -> list[Interval | None]:
    """Accepted share of the pairs `among`, in each bin [N, bins]; None for a bin without such pairs."""
    both = bootstrap.shares(np.concatenate([inside & accepted[:, None], inside], axis=1), among)
    hits, total = np.split(both, 2, axis=1)
    with np.errstate(invalid="ignore"):
        drawn = hits / total
    found: list[Interval | None] = []
    for k in range(inside.shape[1]):
        chosen = inside[:, k] & among
        resampled = drawn[:, k][np.isfinite(drawn[:, k])]
        found.append(Interval.of(float(accepted[chosen].mean()), resampled) if chosen.any() else None)
    return found
