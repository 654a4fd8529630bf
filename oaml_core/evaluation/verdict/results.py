"""Results of an evaluation, per set, condition and score."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from oaml_core.evaluation.statistics.bootstrap import Interval
from oaml_core.evaluation.statistics.one_threshold import OneThreshold, ShareBin
from oaml_core.evaluation.statistics.published_rates import PublishedRate
from oaml_core.evaluation.statistics.roc import Roc, TarAtFar
from oaml_core.inference.fusion import Fusion
from oaml_core.inference.strangers import Strangers

if TYPE_CHECKING:  # these import torch, which whoever only reads results need not have
    from oaml_core.evaluation.scoring.compared_pair import ComparedPair
    from oaml_core.evaluation.scoring.identities import PairIdentities
    from oaml_core.evaluation.scoring.scores import PairScores
    from oaml_core.inference.combining import CombinedRule

SCORES = ("global", "local", "combined", "calibrated")
"""Names of the scores, in the order of every table."""


@dataclass(frozen=True)
class ScoreResult:
    """The figures of one score on one set under one condition."""

    accuracy: float
    accuracy_std: float
    accuracy_by_fold: list[float]
    threshold: float
    accuracy_published: float | None
    auc: float
    eer: float
    tar_at_far: list[TarAtFar]
    roc: Roc
    """Curve of at most 200 points."""
    correct: NDArray[np.bool_]
    """[N], whether each pair was decided rightly; not written."""
    values: NDArray[np.float64]
    """[N], the scores themselves, exact in single precision; kept for comparisons."""
    accuracy_interval: Interval | None = None
    """Interval of the accuracy."""
    tar_intervals: list[Interval] = field(default_factory=list)
    """Intervals of the measurable rates of `tar_at_far`."""
    against_global: Interval | None = None
    """Accuracy less that of the global score; None for the global score itself."""
    tar_against_global: list[Interval] = field(default_factory=list)
    """The same for the measurable ones of `tar_at_far`; empty for the global score itself."""
    at_one_threshold: list[OneThreshold] = field(default_factory=list)
    """Rates at thresholds set on the clean pairs, and on those of all conditions."""
    vr_published: list[PublishedRate] = field(default_factory=list)
    """VR@FAR as published, interpolated per fold, at the rates of `tar_at_far`; of the global score alone."""


@dataclass(frozen=True)
class ConditionResult:
    """One set under one condition."""

    name: str
    scores: dict[str, ScoreResult]
    pair_scores: PairScores
    """Not written."""

    @property
    def covered_share(self) -> float:
        """Mean share of the drawn images that is covered."""
        return float(self.pair_scores.covered_share.mean())

    @property
    def visibility_iou(self) -> float | None:
        """Intersection over union of covered places, over the whole set; None if none is or is said to be."""
        union = float(self.pair_scores.hidden_union.sum())
        return float(self.pair_scores.hidden_intersection.sum()) / union if union else None

    @property
    def visibility_mae(self) -> float:
        """Mean absolute error of the visibility map."""
        return float(self.pair_scores.map_error.mean())

    @property
    def reliability(self) -> NDArray[np.float64]:
        """Return [3, BINS]: places, mean predicted and mean true visibility per bin of the predicted one; NaN without
        places."""
        places, predicted, true = self.pair_scores.reliability.sum(0)
        with np.errstate(invalid="ignore"):
            return np.stack([places, predicted / places, true / places])

    @property
    def calibration_error(self) -> float:
        """Mean difference between predicted and true visibility over the bins, weighted by their places."""
        places, predicted, true = self.pair_scores.reliability.sum(0)
        return float(np.abs(predicted - true).sum() / places.sum())


@dataclass(frozen=True)
class SetResult:
    """One verification set under all conditions."""

    name: str
    issame: NDArray[np.bool_]
    rule: CombinedRule | None
    """None: the recogniser has a global score alone, and no visibility maps."""
    conditions: dict[str, ConditionResult]
    seconds: float
    """Wall-clock time of scoring."""
    identities: PairIdentities
    fusion: Fusion | None = None
    """Fitted on all pairs; None: they are too few, and the calibrated score is that of `calibrated_scores`."""
    decision: str = "combined"
    """Name of the score that the exported model decides by."""
    by_visible_share: dict[str, list[ShareBin]] = field(default_factory=dict)
    """Bins by score, at the one threshold of the clean pairs for the lowest measurable rate."""

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of the scores that there are, in the order of every table."""
        there = next(iter(self.conditions.values())).scores
        return tuple(name for name in SCORES if name in there)

    @property
    def people(self) -> int:
        """Identities that the intervals resample."""
        return int(np.unique(np.concatenate([self.identities.first, self.identities.second])).size)


@dataclass(frozen=True)
class Example:
    """A pair as the report shows it."""

    caption: str
    """Set, condition and number of the pair."""
    kind: str
    """`typical`, `false accept` or `false reject`."""
    genuine: bool
    scores: dict[str, float]
    pair: ComparedPair


@dataclass(frozen=True)
class Evaluation:
    """Results of `evaluate_model` on all verification sets."""

    sets: dict[str, SetResult]
    examples: list[Example] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall-clock time of scoring, judging and pictures, over all sets."""
    strangers: Strangers | None = None
    """Strangers that measure the combined scores; None: combined scores are weighted means."""
    absent: str = ""
    """Which scores there are not, and why; empty: there are all."""
