"""One training worker, which `worker_entry` runs."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import record

from oaml_core.config import Config
from oaml_core.data.batches.sample_sheet import SAMPLES, write_sample_sheet
from oaml_core.data.prepared.prepared import PreparedDataset, open_prepared
from oaml_core.errors import OamlError, StoreError
from oaml_core.kept_memory import keep_freed_memory
from oaml_core.settings import load_config
from oaml_core.store import open_store
from oaml_core.tracking import METRICS
from oaml_core.training.best import BestCheckpoint, with_best
from oaml_core.training.keeper import CheckpointKeeper
from oaml_core.training.launcher import ERROR, RESULT
from oaml_core.training.loop import Interrupted, TrainingLoop
from oaml_core.training.world import World

log = logging.getLogger(__name__)


@record
def main(train: Callable[[Config, Path, Path, str], None]) -> None:
    """Train, or go on training, as the arguments say.

    Args:
        train: `train_as_worker` of this module, or one like it.
    """
    arguments = _arguments()
    level = logging.INFO if World.from_environment().is_main else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s")
    try:
        train(load_config(arguments.config), arguments.dataset, arguments.run_dir, arguments.store_prefix)
    except Interrupted:
        sys.exit(128 + signal.SIGTERM)
    except StoreError:
        raise  # it may be back after a restart
    except OamlError as error:
        # A fault of data or configuration is there after a restart too: the launcher reads this and ends the run.
        (arguments.run_dir / ERROR).write_text(str(error))
        sys.exit(1)


def train_as_worker(config: Config, dataset: Path, run_dir: Path, store_prefix: str) -> None:
    """Train in this process, as the worker that the environment says it is.

    Args:
        config: the whole configuration.
        dataset: folder of the prepared data set.
        run_dir: folder of the run: metrics, checkpoints, and `result.json` at the end.
        store_prefix: the run's prefix in the artifact store.
    """
    world, keeper = begin(config, run_dir, store_prefix)
    prepared = open_prepared(dataset)
    loop = TrainingLoop(config, prepared, run_dir, keeper, world)
    if world.is_main and not (run_dir / SAMPLES).exists():
        _show_samples(config, prepared, run_dir / SAMPLES)
    metrics = loop.run()
    if world.is_main:
        write_result(run_dir, metrics | {"best_val_acc": loop.position.best}, keeper.best)


def _show_samples(config: Config, dataset: PreparedDataset, path: Path) -> None:
    """Write the sheet of samples; training goes on without it where the disk is full."""
    try:
        write_sample_sheet(config, dataset, path)
    except OSError as error:
        log.warning("%s could not be written: %s. `oaml inspect` makes it again.", path, error)


def begin(config: Config, run_dir: Path, store_prefix: str) -> tuple[World, CheckpointKeeper]:
    """Return this worker's place and its run's checkpoints, and write its process number into `run_dir/workers`."""
    keep_freed_memory()
    world = World.from_environment()
    for noisy in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    workers = run_dir / "workers"
    workers.mkdir(parents=True, exist_ok=True)
    (workers / f"{world.rank}.pid").write_text(str(os.getpid()))
    keeper = CheckpointKeeper(
        run_dir / "checkpoints",
        open_store(config.store),
        f"{store_prefix}/checkpoints",
        config.train.keep_checkpoints,
        run_dir / METRICS,
    )
    return world, keeper


def write_result(run_dir: Path, result: Mapping[str, float], best: BestCheckpoint | None) -> None:
    """Say that training has come to its end.

    Args:
        run_dir: folder of the run.
        result: metrics of the last validation, and the best accuracy.
        best: the checkpoint that the best accuracy is of; publishing takes no other.
    """
    temporary = run_dir / f".{RESULT}.tmp"
    temporary.write_text(json.dumps(with_best(result, best)))
    temporary.replace(run_dir / RESULT)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--store-prefix", required=True)
    return parser.parse_args()
