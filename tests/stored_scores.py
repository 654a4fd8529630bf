"""What an evaluation leaves in the store, made by hand: scores that decide so many pairs rightly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from oaml_core.evaluation.scoring.stored import SCORES_FILE
from oaml_core.stages.promote_stage import HEADLINE_METRIC

PAIRS = 1000


def scores_with(accuracy: float, luck: int = 0) -> np.ndarray:
    """[PAIRS]: of each fold the last share of both kinds is decided wrongly; `luck` moves where."""
    fold = np.arange(PAIRS) % 100
    wrong = (fold // 2 + luck) % 50 >= round(50 * accuracy)
    truth = np.arange(PAIRS) % 2 == 0
    return np.where(truth != wrong, 1.0, 0.0).astype(np.float32)


def write_evaluation(
    folder: Path,
    accuracies: dict[str, dict[str, float]],
    *,
    luck: int = 0,
    digest: str = "pairs",
    fingerprint: str | None = None,
) -> str:
    """`metrics.json` and `scores.npz` of a model with these accuracies by set and condition; address of the former.

    `fingerprint` is that of its data set, where it is known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    truth = np.arange(PAIRS) % 2 == 0
    arrays: dict[str, np.ndarray] = {}
    for name, conditions in accuracies.items():
        first = np.arange(PAIRS) * 2
        arrays |= {
            f"{name}/issame": truth,
            f"{name}/identities": np.stack([first, np.where(truth, first, first + 1)]).astype(np.int32),
            f"{name}/digest": np.array(digest),
        }
        for condition, accuracy in conditions.items():
            for score in ("global", "combined"):
                arrays[f"{name}/{condition}/{score}"] = scores_with(accuracy, luck)
    np.savez_compressed(folder / SCORES_FILE, **arrays)
    headline = {HEADLINE_METRIC: float(np.mean([next(iter(found.values())) for found in accuracies.values()]))}
    path = folder / "metrics.json"
    context = {} if fingerprint is None else {"context": {"dataset_fingerprint": fingerprint}}
    path.write_text(json.dumps({"headline": headline, "sets": {name: {} for name in accuracies}, **context}))
    return str(path)
