"""Two models on the same pairs: which is better, and is that more than chance?

Decisions are those of the ten-fold protocol, each model at its own thresholds. A difference counts as shown where two
tests agree at the stated level: the paired bootstrap over identities leaves 0 outside its interval, and McNemar's exact
test of the pairs that one model alone decides rightly rejects a fair coin. Scores come from the store: no model runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from oaml_core.evaluation.scoring.stored import StoredSet
from oaml_core.evaluation.statistics.bootstrap import LEVEL, IdentityBootstrap, Interval
from oaml_core.evaluation.statistics.one_threshold import at_one_threshold
from oaml_core.evaluation.statistics.protocols import Bools, Floats, ten_fold_any_range
from oaml_core.evaluation.statistics.roc import roc, tar_at_far
from oaml_core.evaluation.statistics.seed import SEED

COMPARED = ("global", "combined")
"""Scores that are compared."""

CLEAN_NAME = "clean"
"""The condition that thresholds are set on."""

Verdict = Literal["better", "worse", "not distinguishable"]


@dataclass(frozen=True)
class TarDifference:
    """Challenger less champion at one false accept rate, each at its own threshold."""

    far: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class RealFar:
    """Real FAR of the challenger under one condition, at its own threshold for clean pairs."""

    far: float
    """False accept rate asked for on the clean pairs."""
    real_far: float
    low: float
    high: float
    """Interval at `LEVEL`, over identities; the threshold is held fixed."""


@dataclass(frozen=True)
class Difference:
    """Challenger against champion on one set, under one condition, by one score."""

    set: str
    condition: str
    score: str
    champion: float
    """10-fold accuracy, in [0, 1]."""
    challenger: float
    difference: float
    """Challenger less champion."""
    low: float
    high: float
    """Interval of the difference at `LEVEL`, over identities."""
    challenger_alone: int
    """Pairs that the challenger alone decides rightly."""
    champion_alone: int
    p_value: float
    """McNemar's exact test, two-sided."""
    verdict: Verdict
    """Verdict on the challenger."""
    tar_at_far: list[TarDifference]
    """Differences of TAR at the measurable rates."""
    real_far: list[RealFar] = field(default_factory=list)
    """FAR of the challenger at the one threshold set on its clean pairs; empty where clean pairs were not scored."""


@dataclass(frozen=True)
class Incomparable:
    """A set or condition that could not be compared."""

    set: str
    condition: str | None
    """None: the whole set."""
    reason: str

    def __str__(self) -> str:
        return f"{self.set}{f'/{self.condition}' if self.condition else ''}: {self.reason}"


@dataclass(frozen=True)
class ModelComparison:
    """Comparison of two models on all pairs that both were measured on."""

    champion: str
    """What the model that the challenger is compared with is called."""
    differences: list[Difference]
    incomparable: list[Incomparable]

    def of(self, name: str, condition: str, score: str = "combined") -> Difference | None:
        """Return the difference on one set under one condition; None if it could not be compared."""
        key = (name, condition, score)
        return next((d for d in self.differences if (d.set, d.condition, d.score) == key), None)

    def as_json(self) -> dict[str, Any]:
        """Return the content of `comparison` in `metrics.json`."""
        return {"level": LEVEL, **asdict(self)}


def compare(
    champion: Mapping[str, StoredSet],
    challenger: Mapping[str, StoredSet],
    rates: Sequence[float] = (1e-2, 1e-3),
    scores: Sequence[str] = COMPARED,
    *,
    name: str = "champion",
) -> ModelComparison:
    """Compare two models on everything that the champion was measured on.

    Args:
        champion: scores by set.
        challenger: scores by set; sets and conditions that it has beyond the champion's are passed over.
        rates: false accept rates whose TAR is compared, where measurable.
        scores: names of the scores.
        name: of the champion.
    """
    differences: list[Difference] = []
    incomparable: list[Incomparable] = []
    for pairs, theirs in champion.items():
        ours = challenger.get(pairs)
        if ours is None:
            incomparable.append(Incomparable(pairs, None, "the challenger was not measured on it"))
        elif ours.digest != theirs.digest or not np.array_equal(ours.issame, theirs.issame):
            incomparable.append(Incomparable(pairs, None, "the champion was measured on other pairs of this name"))
        else:
            incomparable += [
                Incomparable(pairs, condition, "the challenger was not measured under it")
                for condition in theirs.values
                if condition not in ours.values
            ]
            differences += _compare_set(pairs, theirs, ours, rates, scores)
    return ModelComparison(name, differences, incomparable)


def _compare_set(
    name: str, champion: StoredSet, challenger: StoredSet, rates: Sequence[float], scores: Sequence[str]
) -> list[Difference]:
    common = [condition for condition in champion.values if condition in challenger.values]
    stored = [one.values[condition] for one in (champion, challenger) for condition in common]
    scores = [score for score in scores if all(score in found for found in stored)]
    keys = [(condition, score) for condition in common for score in scores]
    if not keys:
        return []
    first, second = champion.identities.astype(np.int64)
    # The same resamples for both models, and at every call.
    bootstrap = IdentityBootstrap(first, second, champion.issame, np.random.default_rng(SEED))
    correct = {
        model: np.stack([_correct(stored, *key) for key in keys], axis=1)
        for model, stored in (("champion", champion), ("challenger", challenger))
    }
    drawn = bootstrap.shares(correct["challenger"]) - bootstrap.shares(correct["champion"])
    held = {score: _real_fars(challenger, score, rates, bootstrap) for score in scores}
    return [
        Difference(
            name,
            condition,
            score,
            **_judged(correct["champion"][:, k], correct["challenger"][:, k], drawn[:, k]),
            tar_at_far=_tar_differences(
                champion.values[condition][score],
                challenger.values[condition][score],
                champion.issame,
                bootstrap,
                rates,
            ),
            real_far=held[score].get(condition, []),
        )
        for k, (condition, score) in enumerate(keys)
    ]


def _judged(champion: Bools, challenger: Bools, drawn: Floats) -> dict[str, Any]:
    gained, lost = int((challenger & ~champion).sum()), int((champion & ~challenger).sum())
    interval = Interval.of((gained - lost) / champion.size, drawn)
    p_value = mcnemar(gained, lost)
    shown = p_value < 1 - LEVEL and (interval.low > 0 or interval.high < 0)
    verdict: Verdict = "not distinguishable" if not shown else "better" if gained > lost else "worse"
    return {
        "champion": float(champion.mean()),
        "challenger": float(challenger.mean()),
        **interval._asdict(),
        "challenger_alone": gained,
        "champion_alone": lost,
        "p_value": p_value,
        "verdict": verdict,
    }


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided p-value of McNemar's exact test: of the pairs that one model alone decides rightly, is half each's?

    McNemar, Psychometrika 12, 1947; the exact form is a binomial test. Pairs are taken to be independent.
    """
    from scipy.stats import binomtest

    return 1.0 if gained + lost == 0 else float(binomtest(gained, gained + lost, 0.5).pvalue)


def _tar_differences(
    champion: NDArray[np.float32],
    challenger: NDArray[np.float32],
    issame: Bools,
    bootstrap: IdentityBootstrap,
    rates: Sequence[float],
) -> list[TarDifference]:
    points = [tar_at_far(roc(values, issame), rates) for values in (champion, challenger)]
    measured = [
        (ours.far, ours.tar - theirs.tar)
        for theirs, ours in zip(*points, strict=True)
        if ours.tar is not None and theirs.tar is not None
    ]
    if not measured:
        return []
    fars = [far for far, _ in measured]
    theirs, ours = (bootstrap.tar_at_far(values.astype(np.float64), fars) for values in (champion, challenger))
    return [
        TarDifference(far, *Interval.of(difference, drawn))
        for (far, difference), drawn in zip(measured, (ours - theirs).T, strict=True)
    ]


def _real_fars(
    stored: StoredSet, score: str, rates: Sequence[float], bootstrap: IdentityBootstrap
) -> dict[str, list[RealFar]]:
    """Real FAR by condition at the threshold of the clean pairs."""
    values = {condition: scores[score].astype(np.float64) for condition, scores in stored.values.items()}
    if CLEAN_NAME not in values:
        return {}
    found = at_one_threshold(values, stored.issame, rates, bootstrap, CLEAN_NAME)
    return {
        condition: [RealFar(one.far, *one.real_far) for one in points if one.set_on == "clean"]
        for condition, points in found.items()
    }


def _correct(stored: StoredSet, condition: str, score: str) -> Bools:
    return ten_fold_any_range(stored.values[condition][score], stored.issame).correct
