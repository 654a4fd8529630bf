"""Blocks that cover a given share of a face: the steps of the occlusion sweep.

One to three rectangles keep their places and proportions while they grow until they cover the share together. They
are striped, where the blocks of training are of one colour.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MOST = 3
STEPS = 24
"""Halvings of the interval that the blocks' size lies in."""
GRAIN = 12
"""Deviation of the stripes' grain, of 255."""


class Block(NamedTuple):
    """Rows and columns that a block covers, the last ones not included."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def area(self) -> int:
        return max(0, self.bottom - self.top) * max(0, self.right - self.left)

    def common(self, other: Block) -> Block:
        """Return the part that two blocks have in common."""
        return Block(
            max(self.top, other.top),
            min(self.bottom, other.bottom),
            max(self.left, other.left),
            min(self.right, other.right),
        )


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
    centres = generator.uniform(0.15, 0.85, (count, 2)).tolist()
    tall = np.exp(generator.uniform(-0.4, 0.4, count)).tolist()
    low, high = 0.0, 2.0
    for _ in range(STEPS):
        size = (low + high) / 2
        covered = _union(_blocks(centres, tall, size, height, width))
        low, high = (low, size) if covered > share * height * width else (size, high)
    pixels = image.numpy().copy()
    visible = np.ones((1, height, width), np.float32)
    for block in _blocks(centres, tall, high, height, width):
        rows, columns = slice(block.top, block.bottom), slice(block.left, block.right)
        pixels[:, rows, columns] = _stripes(height, width, generator)[:, rows, columns]
        visible[:, rows, columns] = 0
    return torch.from_numpy(pixels), torch.from_numpy(visible)


def _blocks(centres: list[list[float]], tall: list[float], size: float, height: int, width: int) -> list[Block]:
    """Blocks of height size·√tall and width size/√tall, in shares of the image, cut off at its edges."""
    found = []
    for (y, x), proportion in zip(centres, tall, strict=True):
        half_height, half_width = size * math.sqrt(proportion) / 2, size / math.sqrt(proportion) / 2
        top, bottom = round((y - half_height) * height), round((y + half_height) * height)
        left, right = round((x - half_width) * width), round((x + half_width) * width)
        found.append(Block(max(0, top), min(height, bottom), max(0, left), min(width, right)))
    return found


def _union(blocks: list[Block]) -> int:
    """Return pixels that blocks cover together, by inclusion and exclusion."""
    total = sum(block.area for block in blocks)
    total -= sum(one.common(other).area for one, other in combinations(blocks, 2))
    return total + (blocks[0].common(blocks[1]).common(blocks[2]).area if len(blocks) == MOST else 0)


def _stripes(height: int, width: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Return two colours in stripes of any direction, with grain; [3, H, W]."""
    colours = generator.integers(0, 256, (2, 3, 1, 1), dtype=np.int16)
    direction, period = generator.uniform(0, math.pi), generator.uniform(6, 30)
    across = np.arange(width) * (math.cos(direction) / period) + generator.uniform()
    along = np.arange(height)[:, None] * (math.sin(direction) / period)
    striped = np.where((across + along) % 1 < 0.5, colours[0], colours[1])
    result: NDArray[np.uint8] = np.clip(striped + _grain(height, width), 0, 255).astype(np.uint8)
    return result


@cache
def _grain(height: int, width: int) -> NDArray[np.int16]:
    return np.random.default_rng(0).normal(0, GRAIN, (height, width)).astype(np.int16)
