"""The training loop: planned batches in, checkpoints out, from wherever the newest checkpoint left off.

Lightning Fabric brings devices, precision and data-parallel gradients; the order of batches, the schedule and the
resuming are here, because that no batch is skipped or seen twice is a promise of this project.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from oaml_core.config import Config, validation_interval
from oaml_core.data.batches.datamodule import FaceDataModule
from oaml_core.data.batches.decoding import not_for_decoders
from oaml_core.data.batches.graph_sampler import feature_distances, nearest_classes
from oaml_core.data.batches.sample_sheet import SAMPLES
from oaml_core.data.prepared.prepared import PreparedDataset
from oaml_core.errors import CheckpointError
from oaml_core.store.cache import LocalCache, cache_bytes, cached_file
from oaml_core.tracking import Tracker
from oaml_core.training.averaged_weights import build_average
from oaml_core.training.compiling import compiles
from oaml_core.training.devices import build_fabric, set_up
from oaml_core.training.keeper import CheckpointKeeper
from oaml_core.training.known_targets import known_targets
from oaml_core.training.module import RecognitionModule
from oaml_core.training.optimisation import build_optimiser
from oaml_core.training.precision import log_product_type
from oaml_core.training.resume import Position, RunState, newest_checkpoint
from oaml_core.training.shards import sharded_rows
from oaml_core.training.step import Stepper
from oaml_core.training.step_log import StepLog
from oaml_core.training.sync_batch_norm import synchronise_batch_norm
from oaml_core.training.validation import show_scores, validate, validate_visibility
from oaml_core.training.world import World, any_worker, broadcast_object

log = logging.getLogger(__name__)


class Interrupted(Exception):
    """The training was asked to end by SIGTERM; its checkpoint is written."""


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
        self.fabric = build_fabric(config.train, world)
        self.fabric.launch()
        torch.manual_seed(config.seed)
        self.module = RecognitionModule(config, dataset.train.num_identities, world)
        if config.train.sync_batchnorm and world.size > 1:
            for part in (self.module.recogniser.backbone, self.module.recogniser.visibility_head):
                synchronise_batch_norm(part, self.fabric.device)
        if config.train.channels_last:
            self.module.to(memory_format=torch.channels_last)
        if compiles(config.train.compile, self.fabric.device):
            self.module.recogniser.compile_parts()
        self.model, optimiser = set_up(
            self.fabric, self.module, build_optimiser(config, self.module), own=sharded_rows(self.module)
        )
        self.model.mark_forward_method("training_step")
        log_product_type(self.module.recogniser, self.fabric.device)
        # The workers of a node have one parent, their agent, and its folder for temporary files.
        self.plans = Path(tempfile.gettempdir()) / f"oaml-plans-{os.getppid()}" if world.local_size > 1 else None
        nearest = self._nearest_classes
        self.data = FaceDataModule(config, dataset, world.rank, world.size, nearest, self.plans, world.node)
        self.stepper = Stepper(
            config, self.fabric, self.module, self.model, optimiser, world, self.data.batches_per_epoch
        )
        self.average = build_average(
            self.module.recogniser, config.train.average_decay, config.train.average_with_start
        )
        self.state = RunState(config, dataset, self.data, self.module, optimiser, self.fabric, self.average)
        not_for_decoders(self.state.tensors)
        self.position = Position()
        self.metrics: dict[str, float] = {}
        self._stop = False
        self._learns_nothing = False
        self._saved_at, self._saved_step = time.monotonic(), 0

    def run(self) -> dict[str, float]:
        """Train to the end; the metrics of the last validation.

        Raises:
            Interrupted: SIGTERM came, and the checkpoint is written.
            NonFiniteLossError: a loss term stayed NaN or infinite.
            CheckpointError: the newest checkpoint is of another data set or configuration.
        """
        signal.signal(signal.SIGTERM, self._on_sigterm)
        run_id = self._resume()
        if self.config.loss.distils and self.config.loss.targets_known:
            self._find_targets()
        self.tracker = self._tracker(run_id) if self.world.is_main else None
        if self.tracker is not None and self.config.tracking.sample_images and self.position.step == 0:
            self.tracker.picture(0, "samples", self.run_dir / SAMPLES)
        batches = self.data.batches_per_epoch
        self.log = StepLog(self.config, self.run_dir, self.world, self.fabric, self.tracker, batches)
        log.info(
            "training: %d images of %d identities, %d batches per epoch, %d epochs, %d workers; at epoch %d batch %d",
            len(self.dataset.train),
            self.dataset.train.num_identities,
            batches,
            self.config.optim.epochs,
            self.world.size,
            self.position.epoch,
            self.position.batch,
        )
        try:
            while self.position.epoch < self.config.optim.epochs and not self._hopeless():
                self._epoch()
            self.keeper.wait()
            if self.plans is not None and self.world.local_rank == 0:
                shutil.rmtree(self.plans, ignore_errors=True)  # mapped files stay with those who still read them
        finally:
            with suppress(CheckpointError):  # what ended the run is the news
                self.keeper.wait()
            self.data.close()
            self.log.close()
            if self.tracker is not None:
                self.tracker.close()
        return self.metrics

    def _epoch(self) -> None:
        """The batches that are left of the current epoch, with the validations that are due."""
        self.data.load_state_dict({"epoch": self.position.epoch, "batch": self.position.batch})
        self.model.train()
        if self.position.batch == 0:
            self.module.begin_epoch(self._nearest_classes)
        self._validate_if_due()  # a run may have been stopped in the middle of a validation
        if self._hopeless():
            return
        # Fabric's own loader would announce epochs to the sampler, by its own count; the position is ours.
        for batch in self.log.timed(iter(self.data.train_dataloader())):
            self.module.check_batch(batch)
            taken = self.stepper.take(self.fabric.to_device(batch), self.position)
            self.log.samples(batch, self.position)
            self.log.step(taken, self.position, self.stepper.guard.skipped)
            self.position.batch += 1
            self.position.step += 1
            if taken.closed:
                if self.average is not None:
                    self.average.update()
                self._save_if_due()
                self._validate_if_due()
                if self._hopeless():
                    return
        self.position.epoch, self.position.batch = self.position.epoch + 1, 0

    def _validate_if_due(self) -> None:
        batches, optim = self.data.batches_per_epoch, self.config.optim
        every = validation_interval(self.config.train, optim.epochs)
        due = validation_batches(every, self.position.epoch, batches, optim.accumulate_grad_batches)
        if self.position.epoch + 1 == optim.epochs:
            due.add(batches)
        if self.position.batch in due and self.position.validated < self.position.step:
            self._validate()

    def _validate(self) -> None:
        """Accuracies on the verification sets; a checkpoint before them, and one with them."""
        if self._saved_step < self.position.step:
            self._save()
        self.log.end_line()
        self._learns_nothing = True
        model = self.module.recogniser
        where = (self.config, self.world, self.fabric.device)
        own = self.average.swap_in() if self.average is not None else None
        found = validate(model, self.dataset.verification, *where)
        self.metrics = found.accuracies | validate_visibility(model, self.dataset.visibility, *where)
        if self.average is not None and own is not None:
            self.average.swap_out(own)
        self._learns_nothing = False
        self.model.train()
        accuracy = self.metrics.get("val_acc", 0.0)
        best = self.position.judge(accuracy, self.config.train.best_tolerance)
        self.position.validated = self.position.step
        if self.tracker is not None:
            self.tracker.log(self.position.step, self.metrics)
            show_scores(self.tracker, self.position.step, found.scores)
        log.info("epoch %d: val_acc %.4f%s", self.position.epoch + 1, accuracy, " (kept as the best)" if best else "")
        self._save(best=best)
        self.log.restart()

    def _hopeless(self) -> bool:
        """Return True if as many validations in a row as `train.stop_after_validations` were not better."""
        limit = self.config.train.stop_after_validations
        return bool(limit) and self.position.worse >= limit

    def _resume(self) -> str | None:
        """Go to where the newest checkpoint is; Weights & Biases' id of the run."""
        found = newest_checkpoint(self.keeper, self.world)
        if found is None:
            if self.config.train.start_from:
                cache = LocalCache(Path(self.config.work_dir) / "weights", cache_bytes(self.config))
                self.state.start_from(cached_file(self.config.train.start_from, cache))
            return None
        name, state = found
        self.position = self.state.restore(state, self.keeper.folder)
        self.metrics = state["metrics"]
        self._saved_step = self.position.step
        if self.world.is_main:
            self.keeper.fetch_metrics()
            self.keeper.send_rest()
        log.info("resumes from %s", name)
        result: str | None = state["run_id"]
        return result

    def _tracker(self, run_id: str | None) -> Tracker:
        """Open the metrics; steps are logged by the number of batches before them, so the present one is to come."""
        position = self.position

        def repeats(name: str) -> bool:
            return not name.startswith("val") or position.validated < position.step

        return Tracker(self.config, self.run_dir, position.step, run_id, repeats)

    def _nearest_classes(self, classes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """Return the `count` nearest classes of some, by the weights of the classifier as they are now; the main
        worker's.
        """
        centres = self.module.head.centres()
        if self.world.is_main:
            found = nearest_classes(feature_distances(centres), classes, count, self.module.head.num_classes)
        return broadcast_object(found if self.world.is_main else np.zeros(0, dtype=np.int64))

    def _save(self, *, best: bool = False) -> None:
        """Hand a checkpoint to the keeper; all workers hold the same state, the main one writes it."""
        run_id = self.tracker.run_id if self.tracker is not None else None
        state = self.state.to_save(self.position, self.metrics, run_id)
        if self.world.is_main:
            self.keeper.save(state, self.position.step, best=best)
        self._saved_at, self._saved_step = time.monotonic(), self.position.step

    def _save_if_due(self) -> None:
        """Checkpoint where enough steps or time have passed; end the run where SIGTERM came to one of the workers."""
        train, step = self.config.train, self.position.step
        due = time.monotonic() - self._saved_at > train.checkpoint_every_seconds
        if every := train.checkpoint_every_steps:
            due |= step // every > self._saved_step // every
        due, stop = any_worker(due, self._stop)
        if due or stop:
            self._save()
        if stop:
            self.log.end_line()
            self.keeper.wait()
            raise Interrupted

    def _find_targets(self) -> None:
        """Compute the targets of distillation, which can take minutes."""
        self._learns_nothing = True
        if self._stop:  # it came while the checkpoint was read
            raise Interrupted
        recogniser, fused = self.module.recogniser, self.config.loss.targets_fused
        self.module.targets = known_targets(self.dataset.train, recogniser, self.fabric, self.world, fused=fused)
        self._learns_nothing = False

    def _on_sigterm(self, *_: object) -> None:
        self._stop = True
        if self._learns_nothing:  # what was learnt before is in a checkpoint
            self._learns_nothing = False
            raise Interrupted


def validation_batches(every: float, epoch: int, batches: int, accumulate: int = 1) -> set[int]:
    """Return numbers of batches done in `epoch` after which validation is due, when it is due `every` epochs.

    Args:
        every: epochs, or a fraction of one.
        batches: global batches in an epoch.
        accumulate: global batches of a step; validation waits for the end of one.
    """
    first = int(epoch / every)
    due = (round(number * every * batches) - epoch * batches for number in range(first, first + int(1 / every) + 2))
    return {min(batches, -(-batch // accumulate) * accumulate) for batch in due if 0 < batch <= batches}
