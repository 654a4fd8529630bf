"""Blocks that cover a given share of a face: the steps of the occlusion sweep.

One to three rectangles keep their places and proportions while they grow until they cover the share together. They
are patterned, where the blocks of training are of one colour.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MOST = 3
STEPS = 24
"""Halvings of the interval that the blocks' size lies in."""


def draw_blocks(image: Tensor, share: float, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Cover `share` of the image, to within a row of pixels.

    Args:
        image: uint8 [3, H, W].
        share: of the image's area, in (0, 1).
        generator: of places, proportions and patterns; the same one draws the same blocks at every share.

    Returns:
        The image uint8 [3, H, W], and its visibility float32 [1, H, W]: 1 = visible, 0 = covered.
    """
    height, width = int(image.shape[1]), int(image.shape[2])
    count = int(generator.integers(1, MOST + 1))
    centres = generator.uniform(0.15, 0.85, (count, 2))
    tall = np.exp(generator.uniform(-0.4, 0.4, count))
    patterns = [_pattern(height, width, generator) for _ in range(count)]
    low, high = 0.0, 2.0
    for _ in range(STEPS):
        size = (low + high) / 2
        covered = _covered(centres, tall, size, (height, width)).any(0).mean()
        low, high = (low, size) if covered > share else (size, high)
    pixels = image.numpy().copy()
    blocks = _covered(centres, tall, high, (height, width))
    for block, pattern in zip(blocks, patterns, strict=True):
        pixels[:, block] = pattern[:, block]
    visible = ~blocks.any(0)
    return torch.from_numpy(pixels), torch.from_numpy(visible.astype(np.float32))[None]


def _covered(
    centres: NDArray[np.float64], tall: NDArray[np.float64], size: float, shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """[blocks, H, W]: pixels of each block, of height size·√tall and width size/√tall in shares of the image."""
    rows = (np.arange(shape[0]) + 0.5) / shape[0]
    columns = (np.arange(shape[1]) + 0.5) / shape[1]
    in_rows = np.abs(rows - centres[:, :1]) <= (size * np.sqrt(tall) / 2)[:, None]
    in_columns = np.abs(columns - centres[:, 1:]) <= (size / np.sqrt(tall) / 2)[:, None]
    return in_rows[:, :, None] & in_columns[:, None, :]


def _pattern(height: int, width: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Two colours in stripes of any direction, with grain; [3, H, W]."""
    colours = generator.integers(0, 256, (2, 3, 1, 1))
    direction, period = generator.uniform(0, np.pi), generator.uniform(6, 30)
    y, x = np.mgrid[:height, :width]
    stripes = np.sin(2 * np.pi * (x * np.cos(direction) + y * np.sin(direction)) / period) > 0
    grain = generator.normal(0, 12, (1, height, width))
    return np.clip(np.where(stripes, colours[0], colours[1]) + grain, 0, 255).astype(np.uint8)
