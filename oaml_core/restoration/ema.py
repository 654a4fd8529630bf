"""Exponential moving average of weights, by half-life (Karras et al. 2022, code of the training loop)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class MovingAverage:
    """Averaged copy of a module: what the module was `halflife` images ago counts half.

    Args:
        module: whose parameters are averaged; its buffers are copied.
        halflife_images: half-life in images.
        rampup_ratio: early on the half-life is at most this share of the images seen so far; 0: always the full one.
    """

    def __init__(self, module: nn.Module, halflife_images: float, rampup_ratio: float = 0.05) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.halflife_images = halflife_images
        self.rampup_ratio = rampup_ratio

    @torch.no_grad()
    def update(self, module: nn.Module, images_seen: int, batch_size: int) -> None:
        """Take in the weights after a step on `batch_size` images."""
        halflife = self.halflife_images
        if self.rampup_ratio > 0:
            halflife = min(halflife, images_seen * self.rampup_ratio)
        beta = 0.5 ** (batch_size / max(halflife, 1e-8))
        for mean, now in zip(self.module.parameters(), module.parameters(), strict=True):
            mean.lerp_(now.detach().to(mean.dtype), 1 - beta)
        for kept, current in zip(self.module.buffers(), module.buffers(), strict=True):
            kept.copy_(current)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averaged module's."""
        return self.module.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        self.module.load_state_dict(state)
