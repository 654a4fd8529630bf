"""What an evaluation found, and how it is written: `metrics.json` and the headline scalars.

`metrics.json`, schema 1 (numbers are JSON numbers or null, never NaN; rates and accuracies lie in [0, 1]):

    schema                      1
    headline                    {name: number}, at most eight, see `headline`
    sets.<set>
      pairs, genuine, impostors counts
      combined                  rule of the combined score: global_weight, local_weight, fallback, and
                                normalisation {global_mean, global_std, local_mean, local_std}
      seconds                   wall-clock seconds of scoring this set
      conditions.<condition>    `clean` or the occluder drawn on the second image of each pair
        covered_share           mean share of the second image that is covered
        visibility              of the second image's map against the drawn mask (area averaging):
          iou                   Σ intersection / Σ union of covered places (below 0.5), null if none
          mae                   mean absolute error
        scores.<score>          `global`, `local`, `combined`, `calibrated`
          accuracy, accuracy_std, accuracy_by_fold, threshold
                                10 folds, `ten_fold_any_range`; threshold: mean over the folds
          accuracy_published    10 folds, `ten_fold` on 2 − 2·cosine; `global` only, else null
          against_global        {difference, low, high}: accuracy less that of the global score, with the 95 %
                                interval of a paired bootstrap over pairs; null for `global` itself
          auc, eer
          tar_at_far            [{far, tar, threshold, measured_far, measurable, smallest_far}]
          roc                   {fpr, tpr, threshold}, lists of at most 200 measured points
          histogram             {edges [41], genuine [40], impostor [40]}, counts
    context                     what the caller adds: fingerprint, config, versions, timings
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.evaluation.bootstrap import Interval
from oaml_core.evaluation.combine import CombinedRule
from oaml_core.evaluation.compared_pair import ComparedPair
from oaml_core.evaluation.conditions import CLEAN
from oaml_core.evaluation.roc import Roc, TarAtFar
from oaml_core.evaluation.scores import PairScores

SCHEMA = 1
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
    against_global: Interval | None
    """None for the global score itself."""
    values: NDArray[np.float64]
    """[N], the scores themselves; not written."""


@dataclass(frozen=True)
class ConditionResult:
    """One set under one condition."""

    name: str
    scores: dict[str, ScoreResult]
    pair_scores: PairScores
    """Not written."""

    @property
    def covered_share(self) -> float:
        """Mean share of the second image that is covered."""
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


@dataclass(frozen=True)
class SetResult:
    """One verification set under all conditions."""

    name: str
    issame: NDArray[np.bool_]
    rule: CombinedRule
    conditions: dict[str, ConditionResult]
    seconds: float


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


def headline(evaluation: Evaluation) -> dict[str, float]:
    """At most eight scalars with names that do not depend on sets or occluders, for dashboards.

    Accuracies are means over the sets; `occluded` ones over the drawn conditions too. Without a drawn
    condition the `occluded` names and `val_visibility_iou` are left out.
    """
    sets = evaluation.sets.values()
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
    """The content of `metrics.json`; the module's docstring has the schema."""
    return {
        "schema": SCHEMA,
        "headline": headline(evaluation),
        "sets": {name: _set_metrics(result) for name, result in evaluation.sets.items()},
        "context": dict(context or {}),
    }


def write_metrics(evaluation: Evaluation, path: Path, context: Mapping[str, Any] | None = None) -> None:
    """Write `metrics.json`, by rename."""
    text = json.dumps(metrics(evaluation, context), indent=1, allow_nan=False, default=str)
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
        "conditions": {
            name: {
                "covered_share": condition.covered_share,
                "visibility": {"iou": condition.visibility_iou, "mae": condition.visibility_mae},
                "scores": {score: _score_metrics(found, result.issame) for score, found in condition.scores.items()},
            }
            for name, condition in result.conditions.items()
        },
    }


def _score_metrics(result: ScoreResult, issame: NDArray[np.bool_]) -> dict[str, Any]:
    return {
        "accuracy": result.accuracy,
        "accuracy_std": result.accuracy_std,
        "accuracy_by_fold": result.accuracy_by_fold,
        "threshold": result.threshold,
        "accuracy_published": result.accuracy_published,
        "against_global": result.against_global and result.against_global._asdict(),
        "auc": result.auc,
        "eer": result.eer,
        "tar_at_far": [{**asdict(point), "measurable": point.measurable} for point in result.tar_at_far],
        "roc": roc_points(result.roc),
        "histogram": histogram(result.values, issame),
    }
