"""The optimiser and the learning rate as a function of the step alone, so that no schedule needs restoring."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Any

from torch import nn
from torch.optim import Optimizer

from oaml_core.config import Config
from oaml_core.models.pooled import Pooled
from oaml_core.training.averaged_weights import FRESH
from oaml_core.training.row_sgd import RowSGD, SkippingAdamW

LR_FACTOR = "lr_factor"
"""Key of a parameter group's factor of the learning rate."""
REFERENCE_BATCH_SIZE = 256
"""Images a step that `optim.lr` is given for when `optim.scale_lr` is on."""


def build_optimiser(config: Config, module: nn.Module) -> Optimizer:
    """Build SGD with momentum, or AdamW, as the configuration says.

    Biases and batch-norm parameters (all 1-D ones) are not decayed, resting classes neither.

    Args:
        config: the whole configuration.
        module: what is trained, with the weights that it starts from; parameters without gradient are left out.
    """
    factor = config.optim.matcher_scale_lr
    scales = [p for part in module.modules() if isinstance(part, Pooled) for p in part.scales() if p.requires_grad]
    slower = _slower(module, config.optim.lr_at_rms)
    apart = {id(p) for p in scales} if factor != 1 else set()
    apart |= {id(p) for p, _ in slower}
    trained = [p for p in module.parameters() if p.requires_grad and id(p) not in apart]
    decay = config.optim.weight_decay
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if factor != 1 and scales:
        groups.append({"params": scales, "weight_decay": 0.0, LR_FACTOR: factor})
    groups += [{"params": [p], "weight_decay": decay, LR_FACTOR: share} for p, share in slower]
    if config.optim.optimiser == "adamw":
        return SkippingAdamW(groups, lr=config.optim.lr)
    return RowSGD(groups, lr=config.optim.lr, momentum=config.optim.momentum)


def _slower(module: nn.Module, rms: float | None) -> list[tuple[nn.Parameter, float]]:
    """Return the matrices and kernels of pretrained parts whose root mean square is below `rms`, and its share of it.

    Steps of AdamW are as long as the rate, whatever they change. Where weights are small because many of them are added
    up, the same step moves a layer much further; in proportion to the weights it does not (Shazeer and Stern 2018,
    Adafactor, section 8).
    """
    if rms is None:
        return []
    fresh = tuple(f"recogniser.{beginning}" for beginning in FRESH)
    pretrained = [
        p
        for name, p in module.named_parameters()
        if name.startswith("recogniser.") and not name.startswith(fresh) and p.requires_grad and p.ndim > 1
    ]
    shares = [(p, p.detach().float().square().mean().sqrt().item() / rms) for p in pretrained]
    return [(p, share) for p, share in shares if share < 1]


def learning_rate(config: Config, batch: int, batches_per_epoch: int) -> float:
    """Learning rate of global batch number `batch`, counted from 0 over all epochs."""
    optim = config.optim
    together = config.data.batch_size * optim.accumulate_grad_batches
    peak = optim.lr * (together / REFERENCE_BATCH_SIZE if optim.scale_lr else 1.0)
    warmup = optim.warmup_epochs * batches_per_epoch
    if batch < warmup:
        return peak * (batch + 1) / (warmup + 1)
    if optim.schedule == "cosine":
        total = optim.epochs * batches_per_epoch
        return peak * 0.5 * (1 + math.cos(math.pi * (batch - warmup) / max(1.0, total - warmup)))
    passed = bisect_right(sorted(optim.lr_milestones), batch // batches_per_epoch)
    return peak * optim.lr_gamma**passed


def set_learning_rate(optimiser: Optimizer, lr: float) -> None:
    """Give every parameter group the learning rate `lr`, times its own factor."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group.get(LR_FACTOR, 1.0)
