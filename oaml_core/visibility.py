"""Visibility maps: [B, 1, H, W] in [0, 1], 1 = visible."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def resize_visibility(visibility: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize `visibility` [B, 1, H, W]: area averages when it shrinks, bilinear interpolation when it grows."""
    if tuple(visibility.shape[-2:]) == tuple(size):
        return visibility
    if visibility.shape[-2] >= size[0] and visibility.shape[-1] >= size[1]:
        return functional.adaptive_avg_pool2d(visibility, size)
    return functional.interpolate(visibility, size, mode="bilinear", align_corners=False)
