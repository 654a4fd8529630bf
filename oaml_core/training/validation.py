"""Validation during training: pairs are shared out among the workers, who exchange scores and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from oaml_core.config import Config
from oaml_core.data.prepared.verification import VerificationSet
from oaml_core.data.prepared.visibility_set import VisibilityDataset
from oaml_core.evaluation.scoring.conditions import CLEAN, Condition
from oaml_core.evaluation.scoring.scores import join_scores, map_quality, score_conditions
from oaml_core.evaluation.statistics.roc import roc, thinned
from oaml_core.evaluation.verdict.evaluate import validation_accuracy, validation_scores
from oaml_core.evaluation.verdict.metrics_json import histogram
from oaml_core.models.recogniser import Recogniser
from oaml_core.tracking import Tracker
from oaml_core.training.world import World, gather_objects


class Validation(NamedTuple):
    """Accuracies of a validation, and the scores that they are of; equal on any number of workers."""

    accuracies: dict[str, float]
    """`val/<set>/<score>` for each set, `val/<set>/<occluder>/<score>` where its second faces wear one of
    `train.validation_occluders`, and `val_acc`: the mean of all accuracies of the combined score."""
    scores: dict[str, ScoredPairs]
    """Scored pairs by `val/<set>` and `val/<set>/<occluder>`."""


class ScoredPairs(NamedTuple):
    """Scores [N] of a set's pairs by their names, and which pairs are genuine."""

    scores: dict[str, NDArray[np.float64]]
    issame: NDArray[np.bool_]


def validate(
    model: Recogniser, sets: Mapping[str, VerificationSet], config: Config, world: World, device: torch.device
) -> Validation:
    """Score every set and measure accuracies of the global, local and combined score."""
    accuracies: dict[str, float] = {}
    scored: dict[str, ScoredPairs] = {}
    covered = [Condition(name, name, split="train") for name in config.train.validation_occluders]
    for name, pairs in sets.items():
        scores = score_conditions(
            model,
            pairs.images,
            [CLEAN, *covered],
            landmarks=pairs.landmarks,
            pairs=np.array_split(np.arange(len(pairs.issame)), world.size)[world.rank],
            batch_size=config.evaluate.batch_size,
            device=device,
        )
        shares = gather_objects(scores)
        for condition in scores:
            whole = join_scores([share[condition] for share in shares])
            where = f"val/{name}" if condition == CLEAN.name else f"val/{name}/{condition}"
            scored[where] = ScoredPairs(validation_scores(whole, pairs.issame, config.evaluate), pairs.issame)
            for score, accuracy in validation_accuracy(*scored[where]).items():
                accuracies[f"{where}/{score}"] = accuracy
    combined = [value for key, value in accuracies.items() if key.endswith("/combined")]
    return Validation(accuracies | ({"val_acc": float(np.mean(combined))} if combined else {}), scored)


def show_scores(tracker: Tracker, step: int, scored: Mapping[str, ScoredPairs]) -> None:
    """Show histograms of genuine and of impostor scores, and the ROC, where the tracker takes charts.

    Args:
        tracker: of the run.
        step: of the validation.
        scored: as `validate` gives them.
    """
    if not tracker.has_copy:
        return
    for where, (scores, issame) in scored.items():
        curves = {}
        for score, values in scores.items():
            counted = histogram(values, issame)
            for kind in ("genuine", "impostor"):
                tracker.histogram(step, f"{where}/{score}/{kind}", counted[kind], counted["edges"])
            curve = thinned(roc(values, issame))
            curves[score] = curve.far.tolist(), curve.tar.tolist()
        tracker.curves(step, f"{where}/roc", curves, across="FAR")


def validate_visibility(
    model: Recogniser, pairs: VisibilityDataset | None, config: Config, world: World, device: torch.device
) -> dict[str, float]:
    """Measure the visibility map on the held-out faces with masks; the figures are equal on any number of workers.

    Returns:
        `val/visibility/mae`, the mean absolute error, and `val/visibility/iou`, intersection over union of covered
        places (visibility below 0.5); the latter only where any is or is said to be. Empty without held-out faces.
    """
    held_out = np.zeros(0, dtype=np.int64) if pairs is None else pairs.indices("validation")
    if pairs is None or not len(held_out):
        return {}
    sums = np.zeros(4)
    model.eval()
    mine, size = np.array_split(held_out, world.size)[world.rank], config.evaluate.batch_size
    for start in range(0, len(mine), size):
        images, masks = zip(*(pairs[int(number)] for number in mine[start : start + size]), strict=True)
        with torch.inference_mode():
            predicted = model(torch.stack(images).to(device)).visibility.float()
            found = map_quality(predicted, torch.stack(masks).to(device))
        columns = found["map_error"], torch.ones(len(images)), found["hidden_intersection"], found["hidden_union"]
        sums += np.array([float(column.sum()) for column in columns])
    error, faces, both, either = np.sum(gather_objects(sums), axis=0).tolist()
    return {"val/visibility/mae": error / faces} | ({"val/visibility/iou": both / either} if either else {})
