"""Non-finite loss terms are a fault: named, skipped on every worker alike, and in the end an error."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from oaml_core.amounts import amount
from oaml_core.errors import NonFiniteLossError

CAUSES = {
    "adaface": "the learning rate is too high for this batch size, or m and s are too large: lower optim.lr, or "
    "set optim.warmup_epochs",
    "qaconv": "the matcher diverged: lower optim.lr or loss.qaconv_loss_weight",
    "softmax_triplet": "the matcher diverged: lower optim.lr or loss.softmax_triplet_loss_weight",
    "distillation": "the local layers diverged: lower optim.lr, or set optim.gradient_clip_norm",
    "common_distillation": "the local layers diverged: lower optim.lr, or set optim.gradient_clip_norm",
    "visibility": "the visibility maps or masks are not finite: check the masks with `oaml check`",
    "gradient": "the backward pass overflowed: set train.precision to bf16 or fp32, or optim.gradient_clip_norm",
}


class Skipped(NamedTuple):
    """A step that was left out."""

    term: str
    """The first term that was not finite."""
    step: int


class _Pending(NamedTuple):
    """Flags of a step on their way to the host."""

    step: int
    names: list[str]
    flags: Tensor
    """float32 [terms], on the CPU."""
    arrived: torch.cuda.Event | None


class FiniteGuard:
    """Decides for all workers together whether a step counts.

    The decision itself never leaves the device: `close` returns it as a tensor, for an optimiser that can leave a step
    out by it. The host learns of it later, to count and to name: on a GPU one step later, so that it never waits for
    what is still queued.

    Args:
        max_skipped_steps: steps in a row that may be skipped.
    """

    def __init__(self, max_skipped_steps: int) -> None:
        self.max_skipped_steps = max_skipped_steps
        self.skipped_in_a_row = 0
        self.skipped = 0
        self._seen: dict[str, Tensor] = {}
        self._pending: deque[_Pending] = deque()

    def watch(self, terms: Mapping[str, Tensor]) -> None:
        """Note which of `terms` are NaN or infinite; nothing waits for the device yet."""
        for name, term in terms.items():
            bad = ~term.detach().isfinite().all()
            self._seen[name] = self._seen[name] | bad if name in self._seen else bad

    def close(self, step: int) -> Tensor:
        """Return float32 [], on the device: 1 if a term since the last call was not finite on any worker, else 0."""
        names, bad = list(self._seen), torch.stack(list(self._seen.values())).float()
        self._seen = {}
        if dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(bad)
        arrived, flags = None, bad
        if bad.device.type == "cuda":
            flags = torch.empty(bad.shape, pin_memory=True).copy_(bad, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
        self._pending.append(_Pending(step, names, flags, arrived))
        return bad.amax().clamp(max=1)

    def read(self) -> Skipped | None:
        """Return the newest step that is known to be left out; None if the steps read now counted.

        On a GPU the verdict on the step before the last `close` is read, which has arrived by then.

        Raises:
            NonFiniteLossError: more than `max_skipped_steps` steps in a row were not finite.
        """
        found = None
        while self._pending and (self._pending[0].arrived is None or len(self._pending) > 1):
            found = self._judge(self._pending.popleft()) or found
        return found

    def verdict(self, step: int) -> str | None:
        """Name of the first term that was not finite on any worker since the last verdict; None if all were.

        The host waits for the device.

        Raises:
            NonFiniteLossError: more than `max_skipped_steps` steps in a row were not finite.
        """
        self.close(step)
        found = None
        while self._pending:
            found = self._judge(self._pending.popleft()) or found
        return found and found.term

    def _judge(self, pending: _Pending) -> Skipped | None:
        if pending.arrived is not None:
            pending.arrived.synchronize()
        found = pending.flags.numpy().nonzero()[0]
        if not len(found):
            self.skipped_in_a_row = 0
            return None
        name = pending.names[found[0]]
        self.skipped += 1
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row > self.max_skipped_steps:
            cause = CAUSES.get(name, "the learning rate is too high: lower optim.lr")
            raise NonFiniteLossError(
                f"The loss term {name!r} was not finite in {amount(self.skipped_in_a_row, 'step')} in a row, the "
                f"last of them step {pending.step}. Likely cause: {cause}."
            )
        return Skipped(name, pending.step)
