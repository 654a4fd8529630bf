"""Inputs of an evaluation: checkpoint, pairs and settings, and the places that follow from them."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.config import Config
from oaml_core.config.occluders import needs_cutouts
from oaml_core.settings import config_from_yaml, digest
from oaml_core.stages.addresses import fetch_dataset, fetch_file, prefix_of, read_metrics_json
from oaml_core.stages.production import champion
from oaml_core.store import Store, open_store
from oaml_core.store.local_file import sha256_of

if TYPE_CHECKING:
    from oaml_core.data.prepared.prepared import PreparedDataset
    from oaml_core.evaluation.scoring.shard_parts import ShardParts
    from oaml_core.inference.strangers import Strangers
    from oaml_core.training.trained import TrainedModel

METRICS, REPORT = "metrics.json", "report.html"


class EvaluationInputs:
    """Model, pairs and settings of an evaluation: the same ones have their results in the same place.

    Args:
        config: `store`, `work_dir` and `evaluate`.
        dataset_uri: data set with the pairs.
        checkpoint_uri: file or address in the store.
    """

    def __init__(self, config: Config, dataset_uri: str, checkpoint_uri: str) -> None:
        from oaml_core.evaluation.verdict.metrics_json import SCHEMA

        self.config, self.dataset_uri, self.checkpoint_uri = config, dataset_uri, checkpoint_uri
        self.checkpoint = fetch_file(config, checkpoint_uri)
        self.sha256 = sha256_of(self.checkpoint)
        cutouts = cutouts_of_checkpoint(config, self.checkpoint)
        self.digest = digest(config.evaluate, dataset_uri, self.sha256, SCHEMA, *([cutouts] if cutouts else []))
        self.run = prefix_of(config, checkpoint_uri)
        self.prefix = f"{self.run}/evaluation-{self.digest}"
        self.folder: Path = self.checkpoint.parent / f"evaluation-{self.digest}"

    @cached_property
    def store(self) -> Store:
        """The store of the results."""
        return open_store(self.config.store)

    @property
    def metrics_key(self) -> str:
        """Key of `metrics.json` in the store."""
        return f"{self.prefix}/{METRICS}"

    @cached_property
    def rival(self) -> Mapping[str, Any] | None:
        """The model in production to compare with; None if there is none, or it is this one."""
        found = champion(self.store)
        return None if found is None or found["metrics_uri"] == self.store.url(self.metrics_key) else found

    def is_current(self) -> bool:
        """Return True if there are metrics that were compared with the rival, or no rival to compare with."""
        if not self.store.exists(self.metrics_key):
            return False
        compared = read_metrics_json(self.store.url(self.metrics_key))["comparison"]
        return self.rival is None or (compared is not None and compared["champion"] == self.rival["version"])

    def parts(self, shards: int) -> ShardParts:
        """Return the scores of so many shards, as the store has them; raises ConfigError for a number below 1."""
        from oaml_core.evaluation.scoring.shard import EvaluationShard
        from oaml_core.evaluation.scoring.shard_parts import ShardParts

        EvaluationShard(0, shards)
        versions = {f"{name}'s version": version(name) for name in ("oaml", "torch", "numpy")}
        inputs = {"checkpoint": self.sha256, "data set": self.dataset_uri.rpartition("/")[2], "settings": self.digest}
        return ShardParts(self.store, f"evaluation-{self.digest}", shards, inputs | versions, "oaml evaluate")

    def open(self) -> OpenedInputs:
        """Load the model, and bring the data set here."""
        from oaml_core.evaluation.scoring.stranger_faces import strangers_among
        from oaml_core.training.trained import load_trained

        began = time.perf_counter()
        dataset = fetch_dataset(self.config, self.dataset_uri)
        trained = load_trained(self.checkpoint)
        config = replace(self.config, model=trained.config.model, data=trained.config.data)
        seconds = time.perf_counter() - began
        device, chosen = best_device(), config.evaluate
        trained.recogniser.to(device)
        strangers = strangers_among(trained.recogniser, dataset.train, chosen.strangers, device, chosen.batch_size)
        return OpenedInputs(config, dataset, trained, device, strangers, seconds)


def cutouts_of_checkpoint(config: Config, checkpoint: Path) -> str:
    """Return the digest of the cut-outs that faces are evaluated under; empty where they are under none.

    Args:
        config: `evaluate` names the occluders.
        checkpoint: its configuration names the folder.

    Raises:
        CheckpointError: it cannot be read. DataError: a cut-out cannot.
    """
    if not any(map(needs_cutouts, config.evaluate.occluders)):
        return ""
    from oaml_core.evaluation.scoring.conditions import cutouts_digest
    from oaml_core.training.checkpoints import read_checkpoint, using_content

    with using_content(checkpoint):
        folder = config_from_yaml(read_checkpoint(checkpoint)["config"]).data.occluders
    return cutouts_digest(config.evaluate.occluders, None if folder is None else Path(folder))


@dataclass(frozen=True)
class OpenedInputs:
    """Inputs of an evaluation that are loaded."""

    config: Config
    """With the sections of model and data that the model was trained by."""
    dataset: PreparedDataset
    trained: TrainedModel
    """Model of the checkpoint; its recogniser is on `device`."""
    device: str
    strangers: Strangers | None
    seconds: float
    """Wall-clock time of loading."""


def best_device() -> str:
    """Return `cuda` where there is a GPU, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def device_name() -> str:
    """Return the name of the device that models are measured on here."""
    import torch

    return torch.cuda.get_device_name() if best_device() == "cuda" else f"{platform.machine()} CPU"
