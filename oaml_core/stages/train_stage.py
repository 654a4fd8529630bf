"""A data set → a checkpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from oaml_core.config import Config
from oaml_core.stages.addresses import announce, fetch_dataset, run_prefix
from oaml_core.store import open_store


@dataclass(frozen=True)
class Trained:
    """What `train` gives."""

    checkpoint_uri: str
    run_uri: str
    val_acc: float
    """Best accuracy of the combined score in validation, in [0, 1]."""
    metrics: dict[str, float]
    """Of the last validation."""


def train(config: Config, dataset_uri: str, *, launcher: str = "local") -> Trained:
    """Train on the data set at `dataset_uri`, or go on where an earlier try of the same run stopped.

    Args:
        launcher: `local` starts `torchrun` on this machine; `none` trains in this process.

    Raises:
        OamlError: the workers failed for good; the message names the log and the checkpoints.
    """
    from oaml_core.training.launcher import launch
    from oaml_core.training.worker import RESULT

    store = open_store(config.store)
    dataset = fetch_dataset(config, dataset_uri)
    prefix = run_prefix(config, dataset_uri)
    run_dir = Path(config.work_dir) / prefix
    reused = store.exists(f"{prefix}/{RESULT}")
    if not reused:
        launch(config, dataset.directory, run_dir, prefix, in_process=launcher == "none")
        store.put_file(run_dir / "checkpoints" / "best.ckpt", f"{prefix}/best.ckpt")
        store.put_file(run_dir / "metrics.csv", f"{prefix}/metrics.csv")
        store.put_file(run_dir / RESULT, f"{prefix}/{RESULT}")
    result = json.loads(store.read_bytes(f"{prefix}/{RESULT}"))
    best = result.pop("best_val_acc")
    announce("train", f"val_acc {best:.4f}", store.url(f"{prefix}/best.ckpt"), reused)
    return Trained(store.url(f"{prefix}/best.ckpt"), store.url(prefix), best, result)
