"""SGD that moves only the rows that a sparse gradient names, and the gradient's norm over all workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Parameter
from torch.optim import SGD, Optimizer

from oaml_core.models.global_batch import is_distributed

MOMENTUM = "momentum_buffer"
"""Torch's name of the momentum in the state of its SGD."""


class RowSGD(SGD):
    """SGD with momentum in which rows without a gradient rest: no decay, and their momentum waits.

    Dense gradients are torch's own SGD's business. The momentum of a parameter with sparse gradients is dense, and as
    large as the parameter; beside it a step needs memory for the rows of the gradient only.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Move the weights; sparse gradients are consumed."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    self._move_rows(parameter, group)
                    parameter.grad = None
        return super().step(closure)

    def _move_rows(self, parameter: Parameter, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if MOMENTUM not in state:
            state[MOMENTUM] = torch.zeros_like(parameter)
        assert parameter.grad is not None
        gradient = parameter.grad.coalesce()
        rows, direction = gradient.indices()[0], gradient.values()
        direction = direction.add(parameter[rows], alpha=group["weight_decay"])
        direction.add_(state[MOMENTUM][rows], alpha=group["momentum"])
        state[MOMENTUM][rows] = direction
        parameter.index_add_(0, rows, direction, alpha=-group["lr"])


@torch.no_grad()
def clip_gradients(optimiser: Optimizer, limit: float | None) -> Tensor:
    """L2 norm of the gradient, which is scaled down to `limit` where it is longer; None: not scaled.

    Dense gradients are the same on every worker; sparse ones are each worker's part of a parameter that is shared out.
    """
    parameters = [p for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
    for parameter in parameters:
        if parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
    sparse = [p.grad.values() for p in parameters if p.grad.is_sparse]
    dense = [p.grad for p in parameters if not p.grad.is_sparse]
    squared = torch.nn.utils.get_total_norm(sparse).square()
    if sparse and is_distributed():
        dist.all_reduce(squared)
    norm = (squared + torch.nn.utils.get_total_norm(dense).square()).sqrt()
    if limit is not None:
        factor = (limit / (norm + 1e-6)).clamp(max=1.0)
        for gradient in (*sparse, *dense):
            gradient.mul_(factor)
    return norm
