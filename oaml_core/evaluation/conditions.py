"""Conditions under which pairs are scored: clean, or with an occluder drawn on the second image.

What is drawn on pair p depends on the kind of occluder and p alone, never on batch size, rank, run or
`config.seed`: every model ever evaluated on a set meets the same pictures. The artwork is the test split,
which training never draws.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oaml_core.config import Occluder
from oaml_core.errors import EvaluationError, nearest

SEED = 20_260_101
"""Of all drawn test conditions. Changing it makes results incomparable with earlier ones."""


@dataclass(frozen=True)
class Condition:
    """One way to show the second image of each pair."""

    name: str
    """`clean` or the occluder's name."""
    occluder: Occluder | None = None
    """What is drawn; None: nothing."""

    def apply(
        self, images: Tensor, pairs: NDArray[np.int64], landmarks: NDArray[np.float32] | None
    ) -> tuple[Tensor, Tensor]:
        """Images under this condition and their true visibility.

        Args:
            images: uint8 [n, 3, H, W], the second images of the pairs.
            pairs: [n], their pair numbers.
            landmarks: [2N, 5, 2] of the whole set in pixels; None, and NaN for an image: the standard template.

        Returns:
            Images uint8 [n, 3, H, W] and masks float [n, 1, H, W], 1 = visible.
        """
        if self.occluder is None:
            return images, torch.ones(len(images), 1, *images.shape[-2:])
        drawn = [
            draw_test_occluder(
                image,
                _landmarks_of(landmarks, 2 * int(pair) + 1),
                self.occluder,
                int(pair),
            )
            for image, pair in zip(images, pairs, strict=True)
        ]
        return torch.stack([image for image, _ in drawn]), torch.stack([mask for _, mask in drawn])


CLEAN = Condition("clean")


def conditions_of(occluders: Sequence[Occluder]) -> list[Condition]:
    """`clean` and one condition an occluder."""
    return [CLEAN, *(Condition(occluder, occluder) for occluder in occluders)]


def condition_named(name: str) -> Condition:
    """The condition of that name.

    Raises:
        EvaluationError: there is no such occluder.
    """
    if name == CLEAN.name:
        return CLEAN
    for occluder in get_args(Occluder):
        if occluder == name:
            return Condition(occluder, occluder)
    raise EvaluationError(f"{name!r} is no condition.{nearest(name, [CLEAN.name, *get_args(Occluder)])}")


def draw_test_occluder(image: Tensor, landmarks: Tensor | None, occluder: Occluder, pair: int) -> tuple[Tensor, Tensor]:
    """The occluder of the test split that belongs to this pair; see `draw_occluder`."""
    from oaml_core.data.occlusion import draw_occluder

    entropy = np.random.SeedSequence([SEED, zlib.crc32(occluder.encode()), pair])
    generator = torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))
    return draw_occluder(image, landmarks, occluder, generator, split="test")


def _landmarks_of(landmarks: NDArray[np.float32] | None, row: int) -> Tensor | None:
    """[5, 2] of one image; None if they are not known."""
    if landmarks is None or np.isnan(landmarks[row]).any():
        return None
    return torch.from_numpy(np.array(landmarks[row]))
