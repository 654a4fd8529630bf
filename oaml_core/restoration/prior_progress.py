"""Where a training of the prior stands, and what has happened since its last line of progress."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class PriorPosition:
    """Position of a run that trains a prior."""

    epoch: int = 0
    batch: int = 0
    """Global batch within the epoch that comes next."""
    step: int = 0
    images: int = 0
    """Tiles seen, over all workers."""


class Tick:
    """Losses and rate since the last line of progress.

    Args:
        number: ticks before this one.
        last: metrics of the tick before.
    """

    def __init__(self, number: int = 0, last: dict[str, float] | None = None) -> None:
        self.number = number
        self.last = last or {}
        self.began, self.images = time.monotonic(), 0
        self._losses: list[Tensor] = []

    def add(self, loss: Tensor, images: int) -> None:
        """Take in the loss of one global batch of `images` tiles."""
        self._losses.append(loss)
        self.images += images

    @property
    def mean_loss(self) -> Tensor:
        """Mean over the batches of this tick."""
        return torch.stack(self._losses).mean()

    @property
    def images_per_second(self) -> float:
        """Tiles per second over all workers."""
        return self.images / (time.monotonic() - self.began)
