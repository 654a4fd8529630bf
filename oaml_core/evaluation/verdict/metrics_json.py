"""Write an evaluation as `metrics.json` and as headline scalars.

`docs/metrics.md` is the schema of `metrics.json`. Numbers are JSON numbers or null, never NaN.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.evaluation.statistics.one_threshold import ShareBin
from oaml_core.evaluation.statistics.roc import Roc
from oaml_core.evaluation.verdict.comparison import ModelComparison
from oaml_core.evaluation.verdict.own_metrics import own_metrics
from oaml_core.evaluation.verdict.results import ConditionResult, Evaluation, ScoreResult, SetResult
from oaml_core.whole_file import written_whole

SCHEMA = 2


def headline(evaluation: Evaluation) -> dict[str, float]:
    """Return at most eight scalars for dashboards, with names that do not depend on sets or occluders.

    Accuracies are means over the sets; `occluded` ones over the drawn conditions too. Without a drawn
    condition the `occluded` names and `val_visibility_iou` are left out, and so are scores that a recogniser has not.
    """
    sets = evaluation.sets.values()
    from oaml_core.evaluation.scoring.conditions import CLEAN

    clean = [result.conditions[CLEAN.name] for result in sets]
    occluded = [condition for result in sets for name, condition in result.conditions.items() if name != CLEAN.name]
    found: dict[str, float] = {}
    for name, conditions in (("clean", clean), ("occluded", occluded)):
        for score in ("global", "local", "combined"):
            if conditions and all(score in condition.scores for condition in conditions):
                found[f"val_accuracy_{name}_{score}"] = float(
                    np.mean([condition.scores[score].accuracy for condition in conditions])
                )
    if occluded and all("combined" in condition.scores for condition in occluded):
        found["val_eer_occluded_combined"] = float(
            np.mean([condition.scores["combined"].eer for condition in occluded])
        )
        ious = [condition.visibility_iou for condition in occluded]
        found["val_visibility_iou"] = float(np.mean([iou or 0.0 for iou in ious]))
    return found


def metrics(
    evaluation: Evaluation, context: Mapping[str, Any] | None = None, comparison: ModelComparison | None = None
) -> dict[str, Any]:
    """Return the content of `metrics.json`; `docs/metrics.md` is its schema.

    Args:
        evaluation: what `evaluate_model` found.
        context: provenance, stored as it is.
        comparison: with the model in production; None: there is none, or it is this one.
    """
    return {
        "schema": SCHEMA,
        "headline": headline(evaluation),
        "sets": {name: _set_metrics(result) for name, result in evaluation.sets.items()},
        "strangers": evaluation.strangers and evaluation.strangers.as_json(),
        "comparison": comparison and comparison.as_json(),
        "context": dict(context or {}),
    }


def write_metrics(
    evaluation: Evaluation,
    path: Path,
    context: Mapping[str, Any] | None = None,
    comparison: ModelComparison | None = None,
) -> None:
    """Write `metrics.json`, by rename; see `metrics`."""
    write_json(metrics(evaluation, context, comparison), path)


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write strict JSON, by rename; ValueError for a number that JSON has not."""
    text = json.dumps(content, indent=1, allow_nan=False, default=str)
    with written_whole(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def roc_points(curve: Roc) -> dict[str, list[float]]:
    """Return `fpr`, `tpr` and `threshold` as lists of finite numbers."""
    return {"fpr": curve.far.tolist(), "tpr": curve.tar.tolist(), "threshold": curve.threshold.tolist()}


def histogram(values: NDArray[np.float64], issame: NDArray[np.bool_], bins: int = 40) -> dict[str, list[float]]:
    """Return counts of genuine and impostor scores in equal bins over the range of all scores."""
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
        "combined": result.rule and result.rule.as_json(),
        "fusion": result.fusion and result.fusion.as_json(),
        "decision": result.decision,
        "by_visible_share": {
            score: [_bin_metrics(one) for one in bins] for score, bins in result.by_visible_share.items()
        },
        "seconds": result.seconds,
        "identities": {"count": result.people, "source": result.identities.source},
        "pairs_digest": result.identities.digest,
        "conditions": {
            name: {
                "covered_share": condition.covered_share,
                "visibility": result.rule and _visibility_metrics(condition),
                "scores": {score: _score_metrics(found, result.issame) for score, found in condition.scores.items()},
            }
            for name, condition in result.conditions.items()
        },
    }


def _bin_metrics(one: ShareBin) -> dict[str, Any]:
    return {
        "low": one.low,
        "high": one.high,
        "genuine": one.genuine,
        "impostors": one.impostors,
        "far": one.far,
        "tar": one.tar and one.tar.difference,
        "tar_interval": one.tar and list(one.tar[1:]),
        "real_far": one.real_far and one.real_far.difference,
        "real_far_interval": one.real_far and list(one.real_far[1:]),
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
        "at_one_threshold": [
            {
                "set_on": one.set_on,
                "far": one.far,
                "threshold": one.threshold,
                "tar": one.tar.difference,
                "tar_interval": list(one.tar[1:]),
                "real_far": one.real_far.difference,
                "real_far_interval": list(one.real_far[1:]),
            }
            for one in result.at_one_threshold
        ],
        "vr_at_far_published": [asdict(rate) for rate in result.vr_published],
        "roc": roc_points(result.roc),
        "histogram": histogram(result.values, issame),
        "own": own_metrics(result.values, issame),
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
