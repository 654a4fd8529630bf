"""Non-finite loss terms are a fault: named, skipped on every worker alike, and in the end an error."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor

from oaml_core.errors import NonFiniteLossError

CAUSES = {
    "adaface": "the learning rate is too high for this batch size, or m and s are too large: lower optim.lr, or "
    "set optim.warmup_epochs",
    "qaconv": "the matcher diverged: lower optim.lr or loss.qaconv_loss_weight",
    "softmax_triplet": "the matcher diverged: lower optim.lr or loss.softmax_triplet_loss_weight",
    "visibility": "the visibility maps or masks are not finite: check the masks with `oaml check`",
    "gradient": "the backward pass overflowed: set train.precision to bf16 or fp32, or optim.gradient_clip_norm",
}


class FiniteGuard:
    """Decides for all workers together whether a step counts.

    Args:
        max_skipped_steps: steps in a row that may be skipped.
    """

    def __init__(self, max_skipped_steps: int) -> None:
        self.max_skipped_steps = max_skipped_steps
        self.skipped_in_a_row = 0
        self.skipped = 0
        self._seen: dict[str, Tensor] = {}

    def watch(self, terms: Mapping[str, Tensor]) -> None:
        """Note which of `terms` are NaN or infinite; nothing waits for the device yet."""
        for name, term in terms.items():
            bad = ~term.detach().isfinite().all()
            self._seen[name] = self._seen[name] | bad if name in self._seen else bad

    def verdict(self, step: int) -> str | None:
        """Name of the first term that was not finite on any worker since the last verdict; None if all were.

        Raises:
            NonFiniteLossError: more than `max_skipped_steps` steps in a row were not finite.
        """
        names, bad = list(self._seen), torch.stack(list(self._seen.values())).float()
        self._seen = {}
        if dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(bad)
        found = bad.nonzero().flatten().tolist()
        if not found:
            self.skipped_in_a_row = 0
            return None
        name = names[found[0]]
        self.skipped += 1
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row > self.max_skipped_steps:
            cause = CAUSES.get(name, "the learning rate is too high: lower optim.lr")
            raise NonFiniteLossError(
                f"The loss term {name!r} was not finite in {self.skipped_in_a_row} steps in a row, the last of them "
                f"step {step}. Likely cause: {cause}."
            )
        return name
