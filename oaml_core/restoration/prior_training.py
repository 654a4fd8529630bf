"""Training the prior: planned batches of clean tiles in, checkpoints with averaged weights out, resumable anywhere.

The order of the tiles, their crops, their noise levels and their noise are functions of (seed, epoch, place in the
epoch), so that workers may come and go as in the training of the recogniser.
"""

from __future__ import annotations

import logging
import signal
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam

from oaml_core.config import Config
from oaml_core.data.batches.decoding import batch_loader, not_for_decoders
from oaml_core.data.batches.parts_ahead import PartsAhead
from oaml_core.errors import CheckpointError
from oaml_core.losses.finite import FiniteGuard
from oaml_core.restoration.ema import MovingAverage
from oaml_core.restoration.face_tiles import FaceTiles
from oaml_core.restoration.prior import Prior
from oaml_core.restoration.prior_loss import PriorLoss
from oaml_core.restoration.prior_progress import PriorPosition, Tick
from oaml_core.restoration.tiles import Tiles
from oaml_core.restoration.training_tiles import TileBatch, TrainingTiles, tile_batches
from oaml_core.restoration.validation import LEVELS, ValidationTiles
from oaml_core.settings import config_from_yaml, config_to_yaml, differing_keys
from oaml_core.store.cache import cache_bytes
from oaml_core.tracking import Tracker
from oaml_core.training.compiling import compiles
from oaml_core.training.devices import build_fabric, set_up, trained_tensors
from oaml_core.training.keeper import CheckpointKeeper
from oaml_core.training.loop import Interrupted
from oaml_core.training.precision import log_product_type, training_step
from oaml_core.training.resume import newest_checkpoint, step_seed
from oaml_core.training.world import World, any_worker

log = logging.getLogger(__name__)

SAMPLING_KEYS = ("method", "guidance", "steps", "samples", "sigma_min", "sigma_max", "noise_a", "noise_b", "batch_gpu")
TEST_KEYS = ("test_tiles", "test_pairs", "test_covered_pairs")
PROGRESS_KEYS = ("total_kimg", "kimg_per_tick", "snapshot_ticks", "tiles", "metadata", "validation_tiles")
MAY_DIFFER = tuple(f"restoration.{name}" for name in SAMPLING_KEYS + TEST_KEYS + PROGRESS_KEYS)
"""Keys of `restoration` that a resumed run may change; the tiles are known by their fingerprint."""


class PriorLoop:
    """One worker's part of a run.

    Args:
        config: the whole configuration.
        tiles: clean tiles to learn from.
        fingerprint: of these tiles.
        run_dir: folder of the run.
        keeper: its checkpoints.
        world: this worker among all of them.
        validation: clean tiles to measure the averaged prior on at every tick; None: it is not measured.
    """

    def __init__(
        self,
        config: Config,
        tiles: Tiles,
        fingerprint: str,
        run_dir: Path,
        keeper: CheckpointKeeper,
        world: World,
        validation: ValidationTiles | None = None,
    ) -> None:
        self.config, self.fingerprint, self.run_dir, self.validation = config, fingerprint, run_dir, validation
        self.keeper, self.world, self.domains = keeper, world, tiles.domains
        self.fabric = build_fabric(config.train, world)
        self.fabric.launch()
        torch.manual_seed(config.seed)
        self.module = PriorLoss(Prior(config.restoration, len(tiles.domains)), config)
        if config.train.channels_last:
            self.module.to(memory_format=torch.channels_last)
        if compiles(config.train.compile, self.fabric.device):
            self.module.prior.network.compile()
        restoration = config.restoration
        self.average = MovingAverage(
            self.module.prior, restoration.ema_halflife_kimg * 1000, restoration.ema_rampup_ratio
        )
        self.model, optimiser = set_up(self.fabric, self.module, Adam(self.module.parameters(), lr=restoration.lr))
        self.model.mark_forward_method("training_step")
        log_product_type(self.module.prior, self.fabric.device)
        self.optimiser: Any = optimiser
        self.average.module.to(self.fabric.device)
        not_for_decoders(self._tensors)
        self.tiles = TrainingTiles(tiles, restoration.tile_size, xflip=restoration.xflip)
        self.batches = tile_batches(
            len(tiles), restoration.batch, seed=config.seed, rank=world.rank, world_size=world.size
        )
        faces = tiles.faces if isinstance(tiles, FaceTiles) else None
        self.ahead = None if faces is None else PartsAhead.of(self.batches, faces, world.node, cache_bytes(config))
        self.guard = FiniteGuard(config.loss.max_skipped_steps)
        self.position = PriorPosition()
        self._stop, self._learns_nothing = False, False
        self._saved_at = time.monotonic()
        self._tick = Tick()

    def run(self) -> dict[str, float]:
        """Train to the end; metrics of the last tick.

        Raises:
            Interrupted: SIGTERM came, and the checkpoint is written.
            NonFiniteLossError: the loss stayed NaN or infinite.
            CheckpointError: the newest checkpoint is of other tiles or of another configuration.
        """
        signal.signal(signal.SIGTERM, self._on_sigterm)
        run_id = self._resume()
        self.tracker = Tracker(self.config, self.run_dir, self.position.step, run_id) if self.world.is_main else None
        log.info(
            "training a prior on %d tiles, %.1f of %.1f thousand seen, %d workers",
            len(self.tiles),
            self.position.images / 1000,
            self.config.restoration.total_kimg,
            self.world.size,
        )
        try:
            while not self._done:
                self._epoch()
            self._save(final=True)
        finally:
            if self.ahead is not None:
                self.ahead.close()
            self.keeper.wait()
            if self.tracker is not None:
                self.tracker.close()
        return self._tick.last

    def _tensors(self) -> list[Tensor]:
        return [*trained_tensors(self.module, self.optimiser), *self.average.module.parameters()]

    @property
    def _done(self) -> bool:
        return self.position.images >= self.config.restoration.total_kimg * 1000

    def _epoch(self) -> None:
        self.batches.load_state_dict({"epoch": self.position.epoch, "batch": self.position.batch})
        loader = batch_loader(self.tiles, self.batches, TileBatch.collate, self.config.data)
        if self.ahead is not None:
            self.ahead.tell()
        self.model.train()
        for batch in loader:
            if self._step(batch):
                self._report()
            self._save_if_due()
            if self._done:
                return
        self.position.epoch, self.position.batch = self.position.epoch + 1, 0

    def _step(self, batch: TileBatch) -> bool:
        """One global batch: this worker's share in parts of `batch_gpu`, then a step of the optimiser.

        Returns:
            False if SIGTERM came between two parts, which may take minutes each: nothing was learnt, and a later run
            makes the same step. Several workers finish theirs, as each waits for the others.
        """
        restoration, position = self.config.restoration, self.position
        torch.manual_seed(step_seed(self.config.seed, position.step, self.world.rank))
        parts = batch.parts(restoration.batch_gpu)
        loss = torch.zeros((), device=self.fabric.device)
        for number, part in enumerate(parts):
            if self._stop and self.world.size == 1:
                self.optimiser.zero_grad()
                return False
            shared = self.world.size > 1 and number + 1 < len(parts)
            with self.fabric.no_backward_sync(self.model) if shared else nullcontext():
                tiles, labels = self.fabric.to_device(part.tiles), self.fabric.to_device(part.labels)
                total = training_step(self.fabric, self.model, tiles, labels, part.seeds)
                # The mean over workers of this is the mean over the values of the global batch.
                share = total * (self.world.size / (restoration.batch * tiles[0].numel()))
                self.fabric.backward(share)
            loss += share.detach()
        self.guard.watch({"edm": loss})
        for group in self.optimiser.param_groups:
            group["lr"] = restoration.lr * min(1.0, (position.images + restoration.batch) / self._rampup_images)
        if self.guard.verdict(position.step) is None:
            self.optimiser.step()
        self.optimiser.zero_grad()
        position.batch, position.step = position.batch + 1, position.step + 1
        position.images += restoration.batch
        self.average.update(self.module.prior, position.images, restoration.batch)
        self._tick.add(loss, restoration.batch)
        return True

    @property
    def _rampup_images(self) -> float:
        return max(1.0, self.config.restoration.lr_rampup_kimg * 1000)

    def _report(self) -> None:
        """A line and metrics at every tick; every worker comes here."""
        if self._tick.images < self.config.restoration.kimg_per_tick * 1000 and not self._done:
            return
        mean: Any = self.fabric.all_reduce(self._tick.mean_loss, reduce_op="mean")
        metrics = {
            "loss": float(mean),
            "images_per_second": self._tick.images_per_second,
            "kimg": self.position.images / 1000,
            "lr": self.optimiser.param_groups[0]["lr"],
            "skipped_steps": float(self.guard.skipped),
        }
        if self.tracker is not None:
            # The others wait for this worker in their next step.
            if self.validation is not None:
                metrics |= self._validated(self.validation)
            self.tracker.log(self.position.step, metrics)
            log.info("%s", _line(metrics, self.config.restoration.total_kimg))
        self._tick = Tick(self._tick.number + 1, last=metrics)

    def _validated(self, validation: ValidationTiles) -> dict[str, float]:
        """Return what held-out tiles show; nothing if SIGTERM comes meanwhile, as that may take minutes."""
        averaged = self.average.module
        assert isinstance(averaged, Prior)
        try:
            self._learns_nothing = True
            return {} if self._stop else validation.metrics(averaged)
        except Interrupted:
            return {}
        finally:
            self._learns_nothing = False

    def _save_if_due(self) -> None:
        restoration = self.config.restoration
        due = time.monotonic() - self._saved_at > self.config.train.checkpoint_every_seconds
        due |= self._tick.images == 0 and self._tick.number % restoration.snapshot_ticks == 0
        due, stop = any_worker(due, self._stop)
        if due or stop:
            self._save()
        if stop:
            self.keeper.wait()
            raise Interrupted

    def _save(self, *, final: bool = False) -> None:
        if self.world.is_main:
            state = {
                "prior": self.module.prior.state_dict(),
                "ema": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(),
                "position": asdict(self.position),
                "config": config_to_yaml(self.config),
                "fingerprint": self.fingerprint,
                "domains": list(self.domains),
                "run_id": self.tracker.run_id if self.tracker is not None else None,
            }
            self.keeper.save(state, self.position.step, best=final)
        self._saved_at = time.monotonic()

    def _resume(self) -> str | None:
        """Go to where the newest checkpoint is; Weights & Biases' id of the run."""
        found = newest_checkpoint(self.keeper, self.world)
        if found is None:
            return None
        name, state = found
        self._refuse_other_run(state)
        self.module.prior.load_state_dict(state["prior"])
        self.average.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.position = PriorPosition(**state["position"])
        if self.world.is_main:
            self.keeper.send_rest()
        log.info("resumes from %s", name)
        result: str | None = state["run_id"]
        return result

    def _refuse_other_run(self, state: dict[str, Any]) -> None:
        if state["fingerprint"] != self.fingerprint:
            raise CheckpointError(
                f"The checkpoints in {self.keeper.folder} learnt from other tiles ({state['fingerprint']}, not "
                f"{self.fingerprint}): give the run another name."
            )
        keys = differing_keys(config_from_yaml(state["config"]), self.config)
        learnt = [k for k in keys if k == "seed" or (k.startswith("restoration.") and k not in MAY_DIFFER)]
        if learnt:
            raise CheckpointError(
                f"The checkpoints in {self.keeper.folder} were trained with other values of {', '.join(learnt)}: give "
                "the run another name."
            )

    def _on_sigterm(self, *_: object) -> None:
        self._stop = True
        if self._learns_nothing:
            self._learns_nothing = False
            raise Interrupted


def _line(metrics: dict[str, float], total_kimg: float) -> str:
    """Return the line of progress that a tick writes."""
    said = f"{metrics['kimg']:.1f} of {total_kimg:.1f} kimg  loss {metrics['loss']:.4f}"
    held = [f"{level} → {metrics[key]:.1f} dB" for level in LEVELS if (key := f"validation_psnr_{level}") in metrics]
    shown = f"  validation: σ {', '.join(held)}" if held else ""
    return f"{said}{shown}  {metrics['images_per_second']:.0f} tiles/s"
