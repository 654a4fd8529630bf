"""What an evaluation found, and how it is written: `metrics.json` and the headline scalars.

`docs/metrics.md` is the schema of `metrics.json`. Numbers are JSON numbers or null, never NaN.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.evaluation.statistics.bootstrap import Interval
from oaml_core.evaluation.statistics.roc import Roc, TarAtFar

if TYPE_CHECKING:  # these import torch, which whoever only reads results need not have
    from oaml_core.evaluation.scoring.combine import CombinedRule
    from oaml_core.evaluation.scoring.identities import PairIdentities
    from oaml_core.evaluation.scoring.scores import PairScores
    from oaml_core.evaluation.verdict.comparison import Comparison
    from oaml_core.inference.compared_pair import ComparedPair

SCHEMA = 2
SCORES = ("global", "local", "combined", "calibrated")
"""Names of the scores, in the order of every table."""


@dataclass(frozen=True)
class ScoreResult:
    """How one score did on one set under one condition."""

    accuracy: float
    accuracy_std: float
    accuracy_by_fold: list[float]
    threshold: float
    accuracy_published: float | None
    auc: float
    eer: float
    tar_at_far: list[TarAtFar]
    roc: Roc
    """At most 200 points."""
    correct: NDArray[np.bool_]
    """[N], whether each pair was decided rightly; not written."""
    values: NDArray[np.float64]
    """[N], the scores themselves, exact in single precision; kept for comparisons."""
    accuracy_interval: Interval | None = None
    """Of the accuracy."""
    tar_intervals: list[Interval] = field(default_factory=list)
    """Of the measurable ones of `tar_at_far`."""
    against_global: Interval | None = None
    """Accuracy less that of the global score; None for the global score itself."""
    tar_against_global: list[Interval] = field(default_factory=list)
    """The same for the measurable ones of `tar_at_far`; empty for the global score itself."""


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
        """[3, BINS]: places, mean predicted and true visibility by bins of the predicted one; NaN without places."""
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
    rule: CombinedRule
    conditions: dict[str, ConditionResult]
    seconds: float
    """Wall-clock time of scoring."""
    identities: PairIdentities

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
    """Everything that `evaluate_model` found."""

    sets: dict[str, SetResult]
    examples: list[Example] = field(default_factory=list)
    comparison: Comparison | None = None
    """With the model in production; None: there is none, or it is this one."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall-clock time of scoring, judging and pictures, over all sets."""


def headline(evaluation: Evaluation) -> dict[str, float]:
    """At most eight scalars with names that do not depend on sets or occluders, for dashboards.

    Accuracies are means over the sets; `occluded` ones over the drawn conditions too. Without a drawn
    condition the `occluded` names and `val_visibility_iou` are left out.
    """
    sets = evaluation.sets.values()
    from oaml_core.evaluation.scoring.conditions import CLEAN

    clean = [result.conditions[CLEAN.name] for result in sets]
    occluded = [condition for result in sets for name, condition in result.conditions.items() if name != CLEAN.name]
    found: dict[str, float] = {}
    for name, conditions in (("clean", clean), ("occluded", occluded)):
        for score in ("global", "local", "combined"):
            if conditions:
                found[f"val_accuracy_{name}_{score}"] = float(
                    np.mean([condition.scores[score].accuracy for condition in conditions])
                )
    if occluded:
        found["val_eer_occluded_combined"] = float(
            np.mean([condition.scores["combined"].eer for condition in occluded])
        )
        ious = [condition.visibility_iou for condition in occluded]
        found["val_visibility_iou"] = float(np.mean([iou or 0.0 for iou in ious]))
    return found


def metrics(evaluation: Evaluation, context: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The content of `metrics.json`; `docs/metrics.md` is its schema."""
    return {
        "schema": SCHEMA,
        "headline": headline(evaluation),
        "sets": {name: _set_metrics(result) for name, result in evaluation.sets.items()},
        "comparison": evaluation.comparison and evaluation.comparison.as_json(),
        "context": dict(context or {}),
    }


def write_metrics(evaluation: Evaluation, path: Path, context: Mapping[str, Any] | None = None) -> None:
    """Write `metrics.json`, by rename."""
    write_json(metrics(evaluation, context), path)


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write strict JSON, by rename; ValueError for a number that JSON has not."""
    text = json.dumps(content, indent=1, allow_nan=False, default=str)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text + "\n", encoding="utf-8")
    os.replace(partial, path)


def roc_points(curve: Roc) -> dict[str, list[float]]:
    """`fpr`, `tpr` and `threshold` as lists of finite numbers."""
    return {"fpr": curve.far.tolist(), "tpr": curve.tar.tolist(), "threshold": curve.threshold.tolist()}


def histogram(values: NDArray[np.float64], issame: NDArray[np.bool_], bins: int = 40) -> dict[str, list[float]]:
    """Counts of genuine and impostor scores in equal bins over the range of all scores."""
    edges = np.histogram_bin_edges(values, bins)
    return {
        "edges": edges.tolist(),
        "genuine": np.histogram(values[issame], edges)[0].tolist(),
        "impostor": np.histogram(values[~issame], edges)[0].tolist(),
    }


def _set_metrics(result: SetResult) -> dict[str, Any]:
    genuine = int(result.issame.sum())
    return {
        "pairs": int(result.issame.size),
        "genuine": genuine,
        "impostors": int(result.issame.size) - genuine,
        "combined": asdict(result.rule),
        "seconds": result.seconds,
        "identities": {"count": result.people, "source": result.identities.source},
        "pairs_digest": result.identities.digest,
        "conditions": {
            name: {
                "covered_share": condition.covered_share,
                "visibility": _visibility_metrics(condition),
                "scores": {score: _score_metrics(found, result.issame) for score, found in condition.scores.items()},
            }
            for name, condition in result.conditions.items()
        },
    }


def _visibility_metrics(condition: ConditionResult) -> dict[str, Any]:
    places, predicted, true = condition.reliability
    return {
        "iou": condition.visibility_iou,
        "mae": condition.visibility_mae,
        "calibration_error": condition.calibration_error,
        "reliability": [
            {"places": int(count), "predicted": float(said), "true": float(truth)}
            for count, said, truth in zip(places, predicted, true, strict=True)
            if count
        ],
    }


def _score_metrics(result: ScoreResult, issame: NDArray[np.bool_]) -> dict[str, Any]:
    return {
        "accuracy": result.accuracy,
        "accuracy_std": result.accuracy_std,
        "accuracy_interval": result.accuracy_interval and list(result.accuracy_interval[1:]),
        "accuracy_by_fold": result.accuracy_by_fold,
        "threshold": result.threshold,
        "accuracy_published": result.accuracy_published,
        "against_global": result.against_global and result.against_global._asdict(),
        "auc": result.auc,
        "eer": result.eer,
        "tar_at_far": _tar_metrics(result),
        "roc": roc_points(result.roc),
        "histogram": histogram(result.values, issame),
    }


def _tar_metrics(result: ScoreResult) -> list[dict[str, Any]]:
    intervals, gains = iter(result.tar_intervals), iter(result.tar_against_global)
    rows = []
    for point in result.tar_at_far:
        row = {**asdict(point), "measurable": point.measurable, "interval": None, "against_global": None}
        if point.measurable:
            interval, gain = next(intervals, None), next(gains, None)
            row |= {"interval": interval and list(interval[1:]), "against_global": gain and gain._asdict()}
        rows.append(row)
    return rows
