"""One step of the optimiser from one or several global batches."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from lightning.fabric import Fabric
from torch import Tensor

from oaml_core.config import Config
from oaml_core.data.batches.training_faces import TrainingBatch
from oaml_core.losses.finite import FiniteGuard, Skipped
from oaml_core.training.module import RecognitionModule, StepResult
from oaml_core.training.optimisation import learning_rate, set_learning_rate
from oaml_core.training.precision import training_step
from oaml_core.training.resume import Position, step_seed
from oaml_core.training.row_sgd import clip_gradients
from oaml_core.training.running_statistics import KeptStatistics
from oaml_core.training.world import World


class Taken(NamedTuple):
    """The outcome of a global batch."""

    result: StepResult
    total: Tensor
    """Weighted sum of the loss terms on this worker."""
    lr: float
    norm: Tensor | None
    """Gradient's L2 norm; None while gradients are accumulated."""
    skipped: Skipped | None
    """The newest step that is known to be left out: this one on a CPU, the one before on a GPU."""

    @property
    def closed(self) -> bool:
        """Return True if no gradient waits for further batches."""
        return self.norm is not None


class Stepper:
    """Forward, backward, and every `accumulate_grad_batches` a step of the optimiser.

    A step counts or is left out as a whole, on all workers alike: a term that is not finite in one of the accumulated
    batches of one worker leaves all of them out. What is left out leaves no trace in weights, momentum and running
    statistics. The host reads nothing from the device to decide so, and never waits for it.

    Args:
        config: the whole configuration.
        fabric: brings the data to the device, and backward passes to all workers.
        model: `module` as Fabric wraps it.
        batches_per_epoch: global batches; those left at an epoch's end are a step of their own.
    """

    def __init__(
        self,
        config: Config,
        fabric: Fabric,
        module: RecognitionModule,
        model: Any,
        optimiser: Any,
        world: World,
        batches_per_epoch: int,
    ) -> None:
        self.config, self.fabric, self.module, self.model, self.optimiser = config, fabric, module, model, optimiser
        self.world, self.batches_per_epoch = world, batches_per_epoch
        self.guard = FiniteGuard(config.loss.max_skipped_steps)
        self.statistics = KeptStatistics(module)

    def take(self, batch: TrainingBatch, position: Position) -> Taken:
        """Learn from the batch at `position`.

        Args:
            batch: on the device; it has passed the module's `check_batch` before it went there.
            position: of the batch.

        Raises:
            NonFiniteLossError: too many steps in a row were left out.
        """
        size, closes = accumulated(position.batch, self.config.optim.accumulate_grad_batches, self.batches_per_epoch)
        lr = learning_rate(self.config, position.step, self.batches_per_epoch)
        self.module.is_logged = position.step % self.config.train.log_every_steps == 0
        torch.manual_seed(step_seed(self.config.seed, position.step, self.world.rank))
        if position.batch % self.config.optim.accumulate_grad_batches == 0:
            self.statistics.keep()
        shared = self.world.size > 1 and not closes
        with self.fabric.no_backward_sync(self.model) if shared else nullcontext():
            result: StepResult = training_step(self.fabric, self.model, batch)
            total = self.module.total(result.terms)
            self.fabric.backward(total / size)
        self.guard.watch(result.terms)
        if not closes:
            return Taken(result, total, lr, None, None)
        set_learning_rate(self.optimiser, lr)
        norm = self._gradient_norm()
        return Taken(result, total, lr, norm, self._update(norm, position.step))

    def _gradient_norm(self) -> Tensor:
        """Return the gradient's norm, before it is clipped where the configuration says so."""
        optimiser = self.optimiser.optimizer
        scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        if scaler is not None:
            scaler.unscale_(optimiser)
        return clip_gradients(optimiser, self.config.optim.gradient_clip_norm)

    def _update(self, norm: Tensor, step: int) -> Skipped | None:
        """Move the weights, or leave the step out on the device; the newest verdict that the host knows of."""
        self.guard.watch({"gradient": norm})
        left_out = self.guard.close(step)
        self.optimiser.optimizer.left_out = left_out
        self.optimiser.step()  # in fp16 an overflow lowers the scale, so that the next step may count
        self.statistics.settle(left_out)
        self.optimiser.zero_grad()
        return self.guard.read()


def accumulated(batch: int, accumulate: int, batches_per_epoch: int) -> tuple[int, bool]:
    """Return global batches of the step that `batch` belongs to, and whether it is the last of them."""
    first = batch - batch % accumulate
    size = min(accumulate, batches_per_epoch - first)
    return size, batch + 1 == first + size
