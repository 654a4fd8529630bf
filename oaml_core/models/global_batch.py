"""The global batch: the slices of all workers, in order of rank."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    """Return True if there is another worker."""
    return dist.is_initialized() and dist.get_world_size() > 1


def gather_batch(local: Tensor, sizes: list[int] | None = None) -> Tensor:
    """Concatenate every worker's [b_r, …] into [Σ b_r, …], in order of rank; slices may differ in length.

    The gradient flows back to the worker that each row came from, summed over the workers that used it.

    Args:
        sizes: what `batch_sizes` said of this batch; asked for if not given.
    """
    if not is_distributed():
        return local
    result: Tensor = _GatherBatch.apply(local, batch_sizes(local) if sizes is None else sizes)
    return result


def batch_sizes(local: Tensor) -> list[int]:
    """Return rows that each worker holds, in order of rank."""
    if not is_distributed():
        return [len(local)]
    # On the CPU, whatever `local` is on: nothing waits for what a GPU has queued.
    sizes = torch.zeros(dist.get_world_size(), dtype=torch.int64)
    sizes[dist.get_rank()] = len(local)
    dist.all_reduce(sizes)
    return sizes.tolist()


def own_rows(sizes: list[int]) -> slice:
    """Return the slice of this worker's rows in the global batch."""
    rank = dist.get_rank() if is_distributed() else 0
    start = sum(sizes[:rank])
    return slice(start, start + sizes[rank])


class _GatherBatch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        # all_gather wants equal shapes: rows are padded to the longest slice, and the padding is cut off again.
        padded = local.new_zeros((max(sizes), *local.shape[1:]))
        padded[: len(local)] = local
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # A copy: the gradient may be somebody else's too, and all_reduce writes into it.
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[own_rows(ctx.sizes)], None
