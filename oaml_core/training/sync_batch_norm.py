"""Batch normalisation over the global batch: what several workers learn is what one would."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from oaml_core.models.correlation import at_least_float32
from oaml_core.models.global_batch import is_distributed

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def synchronise_batch_norm(module: nn.Module, device: torch.device) -> None:
    """Make every batch normalisation in `module` one over the slices of all workers; its state dict keeps its names.

    Args:
        device: that it will train on: torch's own kernels serve GPUs alone.
    """
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(module)
        return
    for part in module.modules():
        for name, child in part.named_children():
            if isinstance(child, BATCH_NORMS):
                setattr(part, name, GlobalBatchNorm.replacing(child))


class GlobalBatchNorm(nn.BatchNorm2d):
    """Normalises [b, C, …] by the mean and variance of the global batch; slices may differ in length."""

    @classmethod
    def replacing(cls, norm: BatchNorm) -> GlobalBatchNorm:
        """Return one with the parameters, statistics and options of `norm`."""
        assert norm.momentum is not None
        made = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        made.weight, made.bias = norm.weight, norm.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            setattr(made, name, getattr(norm, name))
        return made.train(norm.training)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `input`; in training, every worker must call it."""
        if self.training and is_distributed():
            return self._over_workers(at_least_float32(input)).to(input.dtype)
        # Not the class's own: any number of axes goes.
        own_statistics = self.training or self.running_mean is None
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return functional.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            own_statistics,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )

    def _over_workers(self, input: Tensor) -> Tensor:
        axes = (0, *range(2, input.ndim))
        shape = (1, -1, *[1] * (input.ndim - 2))
        own = input.new_full((1,), input.numel() / self.num_features)
        sums = _SumOverWorkers.apply(torch.cat([input.sum(axes), own]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = input - mean.view(shape)
        # In a second round, because the difference of mean square and squared mean loses digits.
        variance = _SumOverWorkers.apply(centred.square().sum(axes)) / count
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        scale = (variance + self.eps).rsqrt()
        if self.weight is None:
            return centred * scale.view(shape)
        result: Tensor = centred * (scale * self.weight).view(shape) + self.bias.view(shape)
        return result

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


class _SumOverWorkers(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Every worker's loss depends on the sum.
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total
