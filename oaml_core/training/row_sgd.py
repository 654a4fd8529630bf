"""SGD that moves only the rows that a sparse gradient names, and the gradient's norm over all workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Parameter
from torch.optim import SGD, AdamW, Optimizer

from oaml_core.models.global_batch import is_distributed

MOMENTUM = "momentum_buffer"
"""Torch's name of the momentum in the state of its SGD."""


@contextmanager
def leaving_out(optimiser: RowSGD | SkippingAdamW) -> Iterator[None]:
    """Let a fused step of torch's be none where `left_out` is not 0; `left_out` is used up."""
    left_out, overflow = optimiser.left_out, getattr(optimiser, "found_inf", None)
    if left_out is None:
        yield
        return
    # The name by which torch's fused optimisers, and its scaler of fp16 gradients, know of an overflow.
    optimiser.found_inf = left_out if overflow is None else torch.maximum(left_out, overflow.reshape(()))
    try:
        yield
    finally:
        optimiser.found_inf = overflow
        optimiser.left_out = None


class SkippingAdamW(AdamW):
    """AdamW that leaves a step out as `RowSGD` does; for dense gradients.

    Args:
        params: parameters, or groups of them.
        settings: of torch's AdamW, but for the form of its arithmetic.
    """

    found_inf: Any

    def __init__(self, params: Any, **settings: Any) -> None:
        super().__init__(params, **settings, fused=True)
        self.left_out: Tensor | None = None
        """float32 [] on the parameters' device, for the next step; None: it counts."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Update the weights once."""
        with leaving_out(self):
            return super().step(closure)


class RowSGD(SGD):
    """SGD with momentum in which rows without a gradient rest: no decay, and their momentum waits.

    Dense gradients are torch's own SGD's business, in its fused form: one kernel for all parameters of a group. The
    momentum of a parameter with sparse gradients is dense, and as large as the parameter; beside it a step needs memory
    for the rows of the gradient only.

    A step is left out, exactly and without the host's knowing, where `left_out` is not 0.

    Args:
        params: parameters, or groups of them.
        settings: of torch's SGD, but for the form of its arithmetic.
    """

    found_inf: Any

    def __init__(self, params: Any, **settings: Any) -> None:
        super().__init__(params, **settings, fused=True)
        self.left_out: Tensor | None = None
        """float32 [] on the parameters' device, for the next step; None: it counts."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over momentum and settings; the arithmetic stays fused, however the state was saved."""
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            group["fused"], group["foreach"] = True, False

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Move the weights; sparse gradients are consumed."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if group["momentum"] and MOMENTUM not in self.state[parameter]:
                    # Zeros, and not the first gradient: the first step may be one that is left out.
                    self.state[parameter][MOMENTUM] = torch.zeros_like(parameter)
                if parameter.grad.is_sparse:
                    self._move_rows(parameter, group)
                    parameter.grad = None
        with leaving_out(self):
            return super().step(closure)

    def _move_rows(self, parameter: Parameter, group: dict[str, Any]) -> None:
        assert parameter.grad is not None
        gradient = parameter.grad.coalesce()
        rows, direction = gradient.indices()[0], gradient.values()
        direction = direction.add(parameter[rows], alpha=group["weight_decay"])
        momentum = self.state[parameter].get(MOMENTUM)
        before = torch.zeros_like(direction) if momentum is None else momentum[rows]
        direction.add_(before, alpha=group["momentum"])
        if self.left_out is not None:
            counts = self.left_out == 0
            before = torch.where(counts, direction, before)
            direction = torch.where(counts, direction, 0)
        else:
            before = direction
        if momentum is not None:
            momentum[rows] = before
        parameter.index_add_(0, rows, direction, alpha=-group["lr"])


@torch.no_grad()
def clip_gradients(optimiser: Optimizer, limit: float | None) -> Tensor:
    """Return the L2 norm of the gradient, and scale the gradient down to `limit` where it is longer; None: not scaled.

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
