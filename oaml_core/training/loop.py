"""The training loop: planned batches in, checkpoints out, from wherever the newest checkpoint left off.

Lightning Fabric brings devices, precision and data-parallel gradients; the order of batches, the schedule and the
resuming are here, because that no batch is skipped or seen twice is a promise of this project.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from oaml_core.config import Config
from oaml_core.data.datamodule import FaceDataModule, TrainingBatch
from oaml_core.data.graph_sampler import feature_distances, nearest_classes
from oaml_core.data.prepared import PreparedDataset
from oaml_core.errors import CheckpointError
from oaml_core.losses.finite import FiniteGuard
from oaml_core.settings import config_from_yaml, config_to_yaml, differing_keys
from oaml_core.tracking import Tracker
from oaml_core.training.checkpoints import CheckpointKeeper
from oaml_core.training.module import RecognitionModule, StepResult
from oaml_core.training.optimisation import build_optimiser, learning_rate, set_learning_rate
from oaml_core.training.validation import validate
from oaml_core.training.world import World, any_worker, from_main

log = logging.getLogger(__name__)

MAY_DIFFER = (
    *("name", "store", "work_dir", "train.", "tracking.", "evaluate.", "export."),
    *("data.num_workers", "data.pin_memory", "data.persistent_workers", "data.prefetch_factor"),
)
"""Keys, and beginnings of keys, that a resumed run may change: none of them changes what is learnt."""


@dataclass
class Position:
    """Where a run stands."""

    epoch: int = 0
    batch: int = 0
    """Global batch within the epoch that comes next."""
    step: int = 0
    """Global batches done in all."""
    best: float = 0.0
    """Best val_acc so far."""


class Interrupted(Exception):
    """SIGTERM came; the checkpoint is written."""


class TrainingLoop:
    """One worker's part of a run.

    Args:
        config: the whole configuration.
        dataset: the prepared data.
        run_dir: folder of the run.
        keeper: its checkpoints.
        world: this worker among all of them.
    """

    def __init__(
        self, config: Config, dataset: PreparedDataset, run_dir: Path, keeper: CheckpointKeeper, world: World
    ) -> None:
        self.config, self.dataset, self.run_dir, self.keeper, self.world = config, dataset, run_dir, keeper, world
        self.fabric = _fabric(config, world)
        self.fabric.launch()
        torch.manual_seed(config.seed)
        self.module = RecognitionModule(config, dataset.train.num_identities, world)
        if config.train.channels_last:
            self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.train.compile:
            self.module.recogniser.backbone.compile()
        self.model, optimiser = self.fabric.setup(self.module, build_optimiser(config, self.module))
        self.model.mark_forward_method("training_step")
        self.optimiser = optimiser
        self.data = FaceDataModule(config, dataset, world.rank, world.size, self._nearest_classes)
        self.guard = FiniteGuard(config.loss.max_skipped_steps)
        self.position = Position()
        self.metrics: dict[str, float] = {}
        self._stop = False
        self._saved_at = time.monotonic()

    def run(self) -> dict[str, float]:
        """Train to the end; the metrics of the last validation.

        Raises:
            Interrupted: SIGTERM came, and the checkpoint is written.
            NonFiniteLossError: a loss term stayed NaN or infinite.
            CheckpointError: the newest checkpoint is of another data set or configuration.
        """
        signal.signal(signal.SIGTERM, self._on_sigterm)
        run_id = self._resume()
        self.tracker = Tracker(self.config, self.run_dir, self.position.step, run_id) if self.world.is_main else None
        log.info(
            "training: %d images of %d identities, %d batches an epoch, %d epochs, %d workers; at epoch %d batch %d",
            len(self.dataset.train),
            self.dataset.train.num_identities,
            self.data.batches_per_epoch,
            self.config.optim.epochs,
            self.world.size,
            self.position.epoch,
            self.position.batch,
        )
        try:
            while self.position.epoch < self.config.optim.epochs:
                self._epoch()
        finally:
            self.keeper.wait()
            if self.tracker is not None:
                self.tracker.close()
        return self.metrics

    def _epoch(self) -> None:
        """The batches that are left of the current epoch, then validation where it is due."""
        self.data.load_state_dict({"epoch": self.position.epoch, "batch": self.position.batch})
        batches = self.data.batches_per_epoch
        checks = _validation_batches(self.config.train.val_every_epochs, self.position.epoch, batches)
        self.model.train()
        timer = _Timer()
        # Fabric's own loader would announce epochs to the sampler, by its own count; the position is ours.
        for batch in self._shown(timer.timed(iter(self.data.train_dataloader()))):
            self._step(self.fabric.to_device(batch), timer)
            self.position.batch += 1
            self.position.step += 1
            if self.position.batch in checks or self._last_batch(batches):
                self._validate()
                timer.restart()
            elif self._checkpoint_due():
                self._save()
        self.position.epoch, self.position.batch = self.position.epoch + 1, 0

    def _step(self, batch: TrainingBatch, timer: _Timer) -> None:
        """One global batch: forward, backward, and a step of the optimiser when enough batches are accumulated."""
        accumulate = self.config.optim.accumulate_grad_batches
        updates = (self.position.batch + 1) % accumulate == 0 or self.position.batch + 1 == self.data.batches_per_epoch
        lr = learning_rate(self.config, self.position.step, self.data.batches_per_epoch)
        set_learning_rate(self.optimiser, lr)
        with self.fabric.no_backward_sync(self.model, enabled=not updates) if accumulate > 1 else nullcontext():
            result: StepResult = self.model.training_step(batch)
            bad = self.guard.check(result.terms, self.position.step)
            if bad is not None:
                log.warning("step %d is skipped: the loss term %r is not finite", self.position.step, bad)
                self.optimiser.zero_grad()
                return
            total = self.module.total(result.terms)
            self.fabric.backward(total / accumulate)
        norm = self._update() if updates else None
        self._log_samples(batch)
        if self.position.step % self.config.train.log_every_steps == 0:
            self._log(total, result, norm, lr, timer)

    def _update(self) -> Tensor:
        """Clip, step, clear; the norm of the gradient."""
        limit = self.config.optim.gradient_clip_norm
        norm = self.fabric.clip_gradients(
            self.model, self.optimiser, max_norm=limit or float("inf"), error_if_nonfinite=False
        )
        if norm is None or not self.guard.check({"gradient": norm}, self.position.step):
            self.optimiser.step()
        self.optimiser.zero_grad()
        return norm if norm is not None else torch.zeros(())

    def _validate(self) -> None:
        """Accuracies on the verification sets; a checkpoint, and the best one if it is."""
        model = self.module.recogniser
        self.metrics = validate(model, self.dataset.verification, self.config, self.world, self.fabric.device)
        self.model.train()
        accuracy = self.metrics.get("val_acc", 0.0)
        best = accuracy >= self.position.best
        self.position.best = max(accuracy, self.position.best)
        if self.tracker is not None:
            self.tracker.log(self.position.step, self.metrics)
        log.info("epoch %d: val_acc %.4f%s", self.position.epoch, accuracy, " (best so far)" if best else "")
        self._save(best=best)

    def _resume(self) -> str | None:
        """Go to where the newest checkpoint is; Weights & Biases' id of the run."""
        name = from_main(self.keeper.newest())
        if name is None:
            if self.config.train.start_from:
                self._load_weights(Path(self.config.train.start_from))
            return None
        state = self.keeper.load(name)
        self._refuse_other_run(state)
        self.module.load_state_dict(state["module"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.position = Position(**state["position"])
        self.data.load_state_dict(state["plan"])
        self.metrics = state["metrics"]
        torch.set_rng_state(state["rng"])
        log.info("resumes from %s", name)
        return state["run_id"]

    def _refuse_other_run(self, state: dict[str, Any]) -> None:
        if state["fingerprint"] != self.dataset.manifest.fingerprint:
            raise CheckpointError(
                f"The checkpoints in {self.keeper.folder} are of data set {state['fingerprint']}, not of "
                f"{self.dataset.manifest.fingerprint}: give the run another name, or train.start_from for its weights."
            )
        keys = differing_keys(config_from_yaml(state["config"]), self.config)
        if changed := [key for key in keys if not key.startswith(MAY_DIFFER)]:
            raise CheckpointError(
                f"The checkpoints in {self.keeper.folder} were trained with other values of {', '.join(changed)}: give "
                "the run another name, or train.start_from for its weights."
            )

    def _nearest_classes(self, count: int) -> NDArray[np.int64]:
        """The `count` nearest classes of each, by the weights of the classifier as they are now; the main worker's."""
        if self.world.is_main:
            centres = functional.normalize(self.module.head.kernel.detach(), dim=0).T
            found = nearest_classes(feature_distances(centres), count, self.module.head.num_classes)
        return from_main(found if self.world.is_main else np.zeros(0, dtype=np.int64))

    def _load_weights(self, path: Path) -> None:
        from oaml_core.training.checkpoints import read_checkpoint

        weights = {k: v for k, v in read_checkpoint(path)["module"].items() if k.startswith("recogniser.")}
        self.module.load_state_dict(weights, strict=False)

    def _save(self, *, best: bool = False) -> None:
        """Hand a checkpoint to the keeper; all workers hold the same state, the main one writes it."""
        self._saved_at = time.monotonic()
        if not self.world.is_main:
            return
        state = {
            "module": self.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "position": vars(self.position),
            "plan": self.data.state_dict(),
            "metrics": self.metrics,
            "rng": torch.get_rng_state(),
            "config": config_to_yaml(self.config),
            "fingerprint": self.dataset.manifest.fingerprint,
            "num_classes": self.dataset.train.num_identities,
            "run_id": self.tracker.run_id if self.tracker is not None else None,
        }
        self.keeper.save(state, self.position.step, best=best)

    def _checkpoint_due(self) -> bool:
        """True on all workers alike; ends the run after the checkpoint where SIGTERM came to one of them."""
        train = self.config.train
        due = bool(train.checkpoint_every_steps) and self.position.step % train.checkpoint_every_steps == 0
        due |= time.monotonic() - self._saved_at > train.checkpoint_every_seconds
        if any_worker(self._stop):
            self._save()
            self.keeper.wait()
            raise Interrupted
        return due

    def _on_sigterm(self, *_: object) -> None:
        self._stop = True

    def _last_batch(self, batches: int) -> bool:
        return self.position.batch == batches and self.position.epoch + 1 == self.config.optim.epochs

    def _log(self, total: Tensor, result: StepResult, norm: Tensor | None, lr: float, timer: _Timer) -> None:
        values = {"loss": total, **{f"loss/{k}": v for k, v in result.terms.items()}, **result.metrics}
        if norm is not None:
            values["gradient_norm"] = norm
        names = list(values)
        packed = torch.stack([values[name].detach().float().reshape(()) for name in names])
        means: Any = self.fabric.all_reduce(packed, reduce_op="mean")
        logged = dict(zip(names, means.tolist(), strict=True)) | {"lr": lr, "skipped_steps": float(self.guard.skipped)}
        logged |= timer.shares(self.config.data.batch_size)
        if self.tracker is None:
            return
        self.tracker.log(self.position.step, logged)
        self._say(logged)

    def _say(self, logged: dict[str, float]) -> None:
        batches = self.data.batches_per_epoch
        text = (
            f"epoch {self.position.epoch + 1}/{self.config.optim.epochs} batch {self.position.batch + 1}/{batches}  "
            f"loss {logged['loss']:.3f}  pairs {logged['pair_accuracy']:.2f}  {logged['images_per_second']:.0f} img/s"
        )
        if sys.stderr.isatty():
            print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)
        else:
            log.info("%s", text)

    def _shown(self, batches: Iterator[TrainingBatch]) -> Iterator[TrainingBatch]:
        yield from batches
        if self.world.is_main and sys.stderr.isatty():
            print(file=sys.stderr)

    def _log_samples(self, batch: TrainingBatch) -> None:
        if not self.config.train.log_samples:
            return
        line = {"epoch": self.position.epoch, "batch": self.position.batch, "samples": batch.samples.tolist()}
        with (self.run_dir / f"samples-{self.world.rank}.jsonl").open("a") as file:
            file.write(json.dumps(line | {"world_size": self.world.size}) + "\n")


class _Timer:
    """Images per second, and the share of the time that was spent waiting for data, since it was last asked."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._began, self._waited, self._batches = time.perf_counter(), 0.0, 0

    def timed(self, batches: Iterator[TrainingBatch]) -> Iterator[TrainingBatch]:
        """`batches`, with the wait for each counted."""
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            self._waited += time.perf_counter() - began
            if batch is None:
                return
            self._batches += 1
            yield batch

    def shares(self, batch_size: int) -> dict[str, float]:
        elapsed = max(1e-9, time.perf_counter() - self._began)
        shares = {
            "images_per_second": self._batches * batch_size / elapsed,
            "data_wait_share": self._waited / elapsed,
        }
        self.restart()
        return shares


def _validation_batches(every: float, epoch: int, batches: int) -> set[int]:
    """Numbers of batches done in `epoch` after which validation is due, when it is due `every` epochs."""
    first = int((epoch * batches) / (every * batches))
    due = (round(number * every * batches) - epoch * batches for number in range(first, first + int(1 / every) + 2))
    return {batch for batch in due if 0 < batch <= batches}


def _fabric(config: Config, world: World) -> Fabric:
    cuda = torch.cuda.is_available()
    precision: Any = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}.get(config.train.precision)
    if precision is None:
        precision = "bf16-mixed" if cuda and torch.cuda.is_bf16_supported() else "32-true"
    return Fabric(
        accelerator="cuda" if cuda else "cpu",
        devices=world.local_size,
        num_nodes=max(1, world.size // world.local_size),
        strategy="ddp" if world.size > 1 else "auto",
        precision=precision,
    )
