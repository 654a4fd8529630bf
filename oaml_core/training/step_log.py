"""What a run says while it trains: metrics, one line every so often, and which samples went in."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric

from oaml_core.config import Config
from oaml_core.data.batches.training_faces import TrainingBatch
from oaml_core.line_file import LineFile
from oaml_core.tracking import Tracker
from oaml_core.training.resume import Position
from oaml_core.training.step import Taken
from oaml_core.training.world import World

log = logging.getLogger(__name__)


class StepLog:
    """Metrics of the steps, from all workers to the main one's tracker and terminal.

    Args:
        config: the whole configuration.
        run_dir: folder of the run.
        world: this worker among all of them.
        fabric: takes means over the workers.
        tracker: of the main worker; None on the others.
        batches_per_epoch: for the line on the terminal.
    """

    def __init__(
        self, config: Config, run_dir: Path, world: World, fabric: Fabric, tracker: Tracker | None, batches: int
    ) -> None:
        self.config, self.run_dir, self.world, self.fabric, self.tracker = config, run_dir, world, fabric, tracker
        self.batches_per_epoch = batches
        self._line_is_open = False
        self._samples: LineFile | None = None
        self.restart()

    def restart(self) -> None:
        """Measure speed anew from here."""
        self._began, self._waited, self._batches = time.perf_counter(), 0.0, 0

    def timed(self, batches: Iterator[TrainingBatch]) -> Iterator[TrainingBatch]:
        """Yield the batches, and measure the wait for each."""
        self.restart()
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            self._waited += time.perf_counter() - began
            if batch is None:
                break
            self._batches += 1
            yield batch
        self.end_line()

    def end_line(self) -> None:
        """Let what is said next stand on a line of its own, on a terminal too."""
        if self._line_is_open:
            print(file=sys.stderr, flush=True)
            self._line_is_open = False

    def step(self, taken: Taken, position: Position, skipped_steps: int) -> None:
        """Log a step where it is due; every worker must call it.

        Args:
            taken: of the step.
            position: of its batch.
            skipped_steps: steps left out so far.
        """
        if taken.skipped is not None:
            self.end_line()
            log.warning("step %d is left out: %r is not finite", taken.skipped.step, taken.skipped.term)
        if position.step % self.config.train.log_every_steps:
            return
        result = taken.result
        values = {"loss": taken.total, **{f"loss/{k}": v for k, v in result.terms.items()}, **result.metrics}
        if taken.norm is not None:
            values["gradient_norm"] = taken.norm
        packed = torch.stack([value.detach().float().reshape(()) for value in values.values()])
        means: Any = self.fabric.all_reduce(packed, reduce_op="mean")
        logged = dict(zip(values, means.tolist(), strict=True)) | {"lr": taken.lr, "skipped_steps": skipped_steps}
        logged |= self._speed()
        if self.tracker is not None:
            self.tracker.log(position.step, logged)
            self._say(logged, position)

    def samples(self, batch: TrainingBatch, position: Position) -> None:
        """Write down which samples this worker consumed, if the configuration wants it."""
        if not self.config.train.log_samples:
            return
        line = {"epoch": position.epoch, "batch": position.batch, "samples": batch.samples.tolist()}
        if self._samples is None:
            self._samples = LineFile(self.run_dir / f"samples-{self.world.rank}.jsonl")
        self._samples.add(json.dumps(line | {"world_size": self.world.size, "time": time.time()}))

    def close(self) -> None:
        """Write the lines that wait for the disk."""
        if self._samples is not None:
            self._samples.close()

    def _speed(self) -> dict[str, float]:
        """Return images per second, and the share of the time that was spent waiting for data, since this was last
        asked.
        """
        elapsed = max(1e-9, time.perf_counter() - self._began)
        speed = {
            "images_per_second": self._batches * self.config.data.batch_size / elapsed,
            "data_wait_share": self._waited / elapsed,
        }
        self.restart()
        return speed

    def _say(self, logged: dict[str, float], position: Position) -> None:
        pairs = f"pairs {logged['pair_accuracy']:.2f}  " if "pair_accuracy" in logged else ""
        text = (
            f"epoch {position.epoch + 1}/{self.config.optim.epochs} "
            f"batch {position.batch + 1}/{self.batches_per_epoch}  loss {logged['loss']:.3f}  "
            f"{pairs}{logged['images_per_second']:.0f} img/s"
        )
        if sys.stderr.isatty():
            print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)
            self._line_is_open = True
        else:
            log.info("%s", text)
