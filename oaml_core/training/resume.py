"""What a checkpoint holds, and how a run goes on from it.

Not in it, because they are functions of the position: the learning rate, the plan of the batches, and the random
numbers of dropout, which are drawn anew for each (seed, step, worker); see `step_seed`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lightning.fabric import Fabric
from torch import Tensor
from torch.optim import Optimizer

from oaml_core.config import Config
from oaml_core.data.batches.datamodule import FaceDataModule
from oaml_core.data.prepared.prepared import PreparedDataset
from oaml_core.errors import CheckpointError
from oaml_core.settings import config_from_yaml, config_to_yaml, differing_keys, learnt_settings
from oaml_core.training.averaged_weights import AveragedWeights
from oaml_core.training.best import BEST, BestCheckpoint, best_of
from oaml_core.training.checkpoints import read_checkpoint, using_content, write_content
from oaml_core.training.devices import trained_tensors
from oaml_core.training.keeper import CheckpointKeeper
from oaml_core.training.module import RecognitionModule
from oaml_core.training.shards import own_steps, own_weights, whole_state
from oaml_core.training.world import World, any_worker, broadcast_object, gather_objects

log = logging.getLogger(__name__)

RECOGNISER = "recogniser."


@dataclass
class Position:
    """Position of a run: batches done, and the best validation so far."""

    epoch: int = 0
    batch: int = 0
    """Global batch within the epoch that comes next."""
    step: int = 0
    """Global batches done in all."""
    best: float = 0.0
    """val_acc of the checkpoint that is kept as the best."""
    highest: float = 0.0
    """Highest val_acc so far."""
    validated: int = 0
    """`step` at the last validation."""
    worse: int = 0
    """Validations since the highest one."""

    def judge(self, accuracy: float, tolerance: float) -> bool:
        """Take in a validation's `accuracy`; return whether its checkpoint is the best from here on.

        Args:
            accuracy: val_acc, in [0, 1].
            tolerance: it may lie so far below the highest, and not below what falls by that much again and again.
        """
        is_best = accuracy >= self.highest - tolerance
        self.worse = 0 if accuracy > self.highest else self.worse + 1
        self.highest = max(accuracy, self.highest)
        if is_best:
            self.best = accuracy
        return is_best


@dataclass
class RunState:
    """All changing parts of a run, except its position.

    Args:
        config: the whole configuration.
        dataset: what it trains on.
        data, module, optimiser, fabric, average: what changes while it trains.
    """

    config: Config
    dataset: PreparedDataset
    data: FaceDataModule
    module: RecognitionModule
    optimiser: Optimizer
    fabric: Fabric
    average: AveragedWeights | None = None

    def tensors(self) -> list[Tensor]:
        """Return what every step may change."""
        averaged = () if self.average is None else self.average.tensors()
        return [*trained_tensors(self.module, self.optimiser), *averaged]

    def to_save(self, position: Position, metrics: Mapping[str, float], run_id: str | None) -> dict[str, Any]:
        """Return the content of a checkpoint; `run_id` is Weights & Biases'. Every worker must call it."""
        weights, steps = whole_state(self.module, self.optimiser)
        return {
            "module": weights,
            "optimiser": steps,
            "precision": self.fabric.strategy.precision.state_dict(),
            "position": asdict(position),
            "plan": self.data.state_dict(),
            "metrics": dict(metrics),
            "config": config_to_yaml(self.config),
            "fingerprint": self.dataset.manifest.fingerprint,
            "num_classes": self.dataset.train.num_identities,
            "run_id": run_id,
            "average": None if self.average is None else self.average.state_dict(),
        }

    def restore(self, state: Mapping[str, Any], folder: Path) -> Position:
        """Go to where `state` was saved.

        Raises:
            CheckpointError: it is of another data set or of a configuration that learns something else; names the keys
                and `folder`.
        """
        with using_content(folder):
            self._refuse_other_run(state, folder)
            self.module.load_state_dict(own_weights(self.module, state["module"]))
            self.optimiser.load_state_dict(own_steps(self.module, self.optimiser, state["optimiser"]))
            self.fabric.strategy.precision.load_state_dict(state["precision"])
            self.data.load_state_dict(state["plan"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            position = Position(**state["position"])
        if best_of(state) is None:
            position.best = position.highest = 0.0  # an accuracy whose checkpoint has no name cannot be published
        position.highest = max(position.highest, position.best)  # older checkpoints do not name it
        return position

    def start_from(self, path: Path) -> None:
        """Take the recogniser's weights of the checkpoint at `path`, and those of the classifier where they fit.

        Raises:
            CheckpointError: the file is no checkpoint, or of another recogniser.
        """
        state = read_checkpoint(path)
        own = self.module.state_dict()
        with using_content(path):
            theirs, fingerprint = own_weights(self.module, state["module"]), state["fingerprint"]
            if (average := state.get("average")) is not None:
                theirs |= {RECOGNISER + name: value for name, value in average["used"].items()}
        fit = {key: value for key, value in theirs.items() if key in own and own[key].shape == value.shape}
        unfit = [key for key in {**own, **theirs} if key.startswith(RECOGNISER) and key not in fit]
        if unfit:
            raise CheckpointError(
                f"train.start_from {path} is of another model: {unfit[0]} and {len(unfit) - 1} more do not fit. Give "
                "the `model` keys that it was trained with; `oaml train --print-config` shows this run's."
            )
        same_identities = fingerprint == self.dataset.manifest.fingerprint
        taken = {key: value for key, value in fit.items() if same_identities or key.startswith(RECOGNISER)}
        self.module.load_state_dict(taken, strict=False)
        if self.average is not None:
            self.average.restart()
        log.info("starts from %s%s", path, "" if same_identities else "; the classifier is new, for other identities")

    def _refuse_other_run(self, state: Mapping[str, Any], folder: Path) -> None:
        fingerprint = self.dataset.manifest.fingerprint
        if state["fingerprint"] != fingerprint:
            raise CheckpointError(
                f"The checkpoints in {folder} are of data set {state['fingerprint']}, not of {fingerprint}: give the "
                "run another name, or train.start_from for its weights."
            )
        learnt = learnt_settings(self.config)
        keys = differing_keys(config_from_yaml(state["config"]), self.config)
        if changed := [key for key in keys if key in learnt]:
            raise CheckpointError(
                f"The checkpoints in {folder} were trained with other values of {', '.join(changed)}: give the run "
                "another name, or train.start_from for its weights."
            )


def newest_checkpoint(keeper: CheckpointKeeper, world: World) -> tuple[str, dict[str, Any]] | None:
    """Name and content of the newest checkpoint that any worker can reach, on all of them; None if there is none.

    One worker of each node fetches it. It need not have reached the store: the node that wrote it shows it to the
    others. The main worker then has the best checkpoint that the newest names, from wherever it lies.

    Raises:
        CheckpointError: the newest or the best checkpoint cannot be fetched, or is damaged.
    """
    names = gather_objects(keeper.newest() if world.local_rank == 0 else None)
    name = max((name for name in names if name is not None), default=None)
    if name is None:
        return None
    holders = [rank for rank, has in enumerate(gather_objects(world.local_rank == 0 and keeper.fetch(name))) if has]
    if not holders:
        raise CheckpointError(f"Checkpoint {name} of {keeper.folder} cannot be fetched from the store; see above.")
    here = (keeper.folder / name).exists()  # the folder is the node's, or that of all nodes
    state = keeper.load(name) if here else None
    if any_worker(not here)[0]:
        shown = broadcast_object(state if world.rank == holders[0] else None, holders[0])
        state = shown if state is None else state
    assert state is not None
    if (best := best_of(state)) is not None:
        _bring_best(keeper, world, best)
    return name, state


def _bring_best(keeper: CheckpointKeeper, world: World, best: BestCheckpoint) -> None:
    """Let the main worker's folder hold the best checkpoint: its own, the store's, or that of another node."""
    has = gather_objects(world.local_rank == 0 and keeper.hold_best(best, fetch=world.is_main))
    if has[0]:
        return
    if True not in has:
        raise CheckpointError(
            f"The best checkpoint so far, {best.name}, is neither in {keeper.folder} nor in the store, or is damaged. "
            "Bring it back from a copy, or give the run another name and the newest checkpoint as train.start_from."
        )
    holder = has.index(True)
    content = broadcast_object((keeper.folder / BEST).read_bytes() if world.rank == holder else b"", holder)
    if world.is_main:
        write_content(content, keeper.folder / BEST)
        if not keeper.hold_best(BestCheckpoint(best.step, hashlib.sha256(content).hexdigest()), fetch=False):
            raise CheckpointError(f"{keeper.folder / BEST} does not keep what was written to it; use another disk.")


def step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of a worker's random numbers in a step: the same again after a restart, another one on each worker."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1)
