"""Figures of one model on the benchmark's pairs, all with paired intervals over people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.evaluation.covered.score import Pairs
from oaml_core.evaluation.statistics.bootstrap import IdentityBootstrap, Interval
from oaml_core.evaluation.statistics.roc import roc, tar_at_far
from oaml_core.evaluation.statistics.seed import SEED

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Figures:
    """One score of one model under one condition."""

    tar: Interval
    """TAR at the threshold of the condition's own impostors."""
    against_global: Interval | None
    """TAR less that of the model's own global score; None for the global score."""
    won_back: Interval | None
    """Share of what the cover costs the global score that this score wins back; None where it costs nothing."""
    one_threshold_tar: Interval
    """TAR at the threshold set on the uncovered pairs."""
    real_far: Interval
    """FAR at the threshold set on the uncovered pairs."""
    resampled: Floats
    """[R] of the TAR; differences between models are taken of them. Not written."""

    def as_json(self) -> dict[str, Any]:
        """Return numbers and [low, high]."""
        found: dict[str, Any] = {}
        for name in ("tar", "against_global", "won_back", "one_threshold_tar", "real_far"):
            interval: Interval | None = getattr(self, name)
            found[name] = interval and interval.difference
            found[f"{name}_interval"] = interval and list(interval[1:])
        return found


def judge(
    conditions: Mapping[str, tuple[Pairs, Mapping[str, Floats]]], clean: str, far: float, people: int
) -> dict[str, dict[str, Figures]]:
    """Judge all scores under all conditions.

    Args:
        conditions: pairs and [N] scores by score, by condition.
        clean: the condition without cover, whose impostor pairs set the one threshold.
        far: false accept rate.
        people: in the faces that the pairs are of; the resamples of people are the same for every condition and model.

    Returns:
        Figures by condition and score; empty where the clean impostor pairs cannot measure the rate.
    """
    thresholds = {}
    for name, values in conditions[clean][1].items():
        (point,) = tar_at_far(roc(values, conditions[clean][0].issame), [far])
        if point.threshold is None:
            return {}
        thresholds[name] = point.threshold
    bootstraps = {
        name: IdentityBootstrap(
            pairs.people.first, pairs.people.second, pairs.issame, np.random.default_rng(SEED), people=people
        )
        for name, (pairs, _) in conditions.items()
    }
    tars = {
        name: {score: _tar(values, pairs.issame, far, bootstraps[name]) for score, values in scores.items()}
        for name, (pairs, scores) in conditions.items()
    }
    return {
        name: {
            score: _figures(
                values, pairs.issame, thresholds[score], bootstraps[name], tars[name], tars[clean]["global"], score
            )
            for score, values in scores.items()
        }
        for name, (pairs, scores) in conditions.items()
    }


def _tar(values: Floats, issame: NDArray[np.bool_], far: float, bootstrap: IdentityBootstrap) -> tuple[float, Floats]:
    (point,) = tar_at_far(roc(values, issame), [far])
    if point.tar is None:
        return float("nan"), np.full(1, np.nan)
    return point.tar, bootstrap.tar_at_far(values, [far])[:, 0]


def _figures(
    values: Floats,
    issame: NDArray[np.bool_],
    threshold: float,
    bootstrap: IdentityBootstrap,
    tars: Mapping[str, tuple[float, Floats]],
    clean: tuple[float, Floats],
    score: str,
) -> Figures:
    (tar, drawn), (alone, alone_drawn) = tars[score], tars["global"]
    accepted = (values >= threshold)[:, None]
    fixed = [
        Interval.of(float(accepted[among].mean()), bootstrap.shares(accepted, among)[:, 0])
        for among in (issame, ~issame)
    ]
    gain = None if score == "global" else Interval.of(tar - alone, drawn - alone_drawn)
    lost, lost_drawn = clean[0] - alone, clean[1] - alone_drawn
    back = None
    if gain is not None and lost > 0:
        # Resamples without a loss would divide by nothing.
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = (drawn - alone_drawn) / lost_drawn
        back = Interval.of(gain.difference / lost, shares[np.isfinite(shares)])
    return Figures(Interval.of(tar, drawn), gain, back, fixed[0], fixed[1], drawn)
