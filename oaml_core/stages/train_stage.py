"""A data set → a checkpoint."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from oaml_core.config import Config
from oaml_core.errors import OamlError
from oaml_core.stages.addresses import announce, fetch_dataset, run_prefix
from oaml_core.stages.budget import Budget
from oaml_core.stages.cost_records import Cost, cost_of
from oaml_core.stages.costs import costing
from oaml_core.stages.publish_run import checked_result, publish_run
from oaml_core.store import Store, open_store
from oaml_core.training.launcher import RESULT

RESULT_SECONDS = 900.0
"""Longest wait of a node for the main worker's, which uploads the best checkpoint."""
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Trained:
    """Result of `train`."""

    checkpoint_uri: str
    run_uri: str
    val_acc: float
    """Best accuracy of the combined score in validation, in [0, 1]."""
    metrics: dict[str, float]
    """Figures of the last validation."""
    cost: Cost
    """Cost of the run when training ended: all attempts at preparing and training, on all nodes."""


class Launcher(Protocol):
    """A function that trains elsewhere, such as on a cluster."""

    def __call__(self, config: Config, dataset_uri: str, run_prefix: str) -> None:
        """Return when the run's result is in the store."""


def train(config: Config, dataset_uri: str, *, launcher: str | Launcher = "local") -> Trained:
    """Train on the data set at `dataset_uri`, or go on where an earlier try of the same run stopped.

    Args:
        launcher: `local` starts `torchrun` on this machine; `none` trains in this process; a `Launcher` elsewhere,
            and neither data nor checkpoints come here then.

    Raises:
        OverBudget: the night's budget is spent. OamlError: the workers failed for good; the message names the log and
            the checkpoints.

    Example:
        >>> import oaml_core as oaml
        >>> options = ["--store", "shelf", "--data.synthetic_identities", "16", "--train.nproc", "1"]
        >>> config = oaml.load_config("smoke", options)
        >>> trained = oaml.train(config, oaml.prepare(config).dataset_uri, launcher="none")
        >>> trained.checkpoint_uri.rpartition("/")[2]
        'best.ckpt'
    """
    store = open_store(config.store)
    prefix = run_prefix(config, dataset_uri)
    reused = store.exists(f"{prefix}/{RESULT}")
    if not reused:
        if isinstance(launcher, str):
            _train_here(config, dataset_uri, store, in_process=launcher == "none")
        else:
            _train_elsewhere(config, dataset_uri, launcher)
    result = checked_result(store, prefix)
    best, cost = result.pop("best_val_acc"), cost_of(result.pop("cost", {}))
    announce("train", f"val_acc {best:.4f}", store.url(f"{prefix}/best.ckpt"), reused)
    return Trained(store.url(f"{prefix}/best.ckpt"), store.url(prefix), best, result, cost)


def check_files(config: Config) -> None:
    """Look at the files that training reads beside its data set, before hours go into preparing that.

    Args:
        config: its `data.occluders` and `model.weights`.

    Raises:
        DataError: the folder of cut-outs is missing, or cannot be used. CheckpointError: there are no such weights, or
            they are not of the network that `config.model` describes.
    """
    if config.data.occluders is not None:
        from oaml_core.data.augment.cutouts import open_cutouts

        open_cutouts(Path(config.data.occluders))
    if config.model.weights is not None:
        from oaml_core.models.recogniser import build_recogniser

        build_recogniser(config.model, image_size=config.data.image_size)


def _train_here(config: Config, dataset_uri: str, store: Store, *, in_process: bool) -> None:
    """Train on this node. The result is put into the store by the node of the main worker.

    The other nodes wait for it: where workers run as one job, the first that ends may end the job.
    """
    from oaml_core.training.launcher import gpus_used, launch

    prefix = run_prefix(config, dataset_uri)
    run_dir = Path(config.work_dir) / prefix
    with costing(config, "train", prefix, gpus=gpus_used(config)) as attempt:
        directory = fetch_dataset(config, dataset_uri).directory  # without its index, which workers open themselves
        launch(config, directory, run_dir, prefix, in_process=in_process)
        if not (run_dir / RESULT).exists():
            _wait_for_main_node(store, f"{prefix}/{RESULT}")
            return
        publish_run(store, prefix, run_dir, attempt.cost_of_run())


def _train_elsewhere(config: Config, dataset_uri: str, launcher: Launcher) -> None:
    """Train by a launcher whose nodes keep their costs on record, and watch the budget, themselves."""
    budget = Budget(config)
    budget.require()
    try:
        launcher(config, dataset_uri, run_prefix(config, dataset_uri))
    except (SystemExit, OamlError) as ended:
        budget.explain(ended)
        raise


def _wait_for_main_node(store: Store, key: str) -> None:
    deadline = time.monotonic() + RESULT_SECONDS
    while not store.exists(key):
        if time.monotonic() > deadline:
            raise OamlError(
                f"This node's workers ended well, but {store.url(key)} was not there {RESULT_SECONDS:.0f} s later: the "
                "log of the node with the main worker says why. The same command goes on from the newest checkpoint."
            )
        time.sleep(POLL_SECONDS)
