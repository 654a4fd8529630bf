"""Validation during training: pairs are shared out among the workers, who exchange scores and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from oaml_core.config import Config
from oaml_core.data.verification import VerificationSet
from oaml_core.evaluation.evaluate import validation_accuracy
from oaml_core.evaluation.scores import PairScores, score_pairs
from oaml_core.models.recogniser import Recogniser
from oaml_core.training.world import World, gather_objects


def validate(
    model: Recogniser, sets: Mapping[str, VerificationSet], config: Config, world: World, device: torch.device
) -> dict[str, float]:
    """Accuracies of the global, local and combined score on every set, equal on any number of workers.

    Returns:
        `val/<set>/<score>` for each set, and `val_acc`: the mean over the sets of the combined score's accuracy.
    """
    accuracies: dict[str, float] = {}
    for name, pairs in sets.items():
        mine = np.array_split(np.arange(len(pairs.issame)), world.size)[world.rank]
        scores = score_pairs(model, pairs.images, pairs=mine, batch_size=config.evaluate.batch_size, device=device)
        whole = PairScores(*map(np.concatenate, zip(*gather_objects(scores), strict=True)))
        for score, accuracy in validation_accuracy(whole, pairs.issame, config.evaluate).items():
            accuracies[f"val/{name}/{score}"] = accuracy
    combined = [value for key, value in accuracies.items() if key.endswith("/combined")]
    return accuracies | ({"val_acc": float(np.mean(combined))} if combined else {})
