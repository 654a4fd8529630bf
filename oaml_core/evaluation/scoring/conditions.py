"""Conditions under which pairs are scored: clean, or with an occluder drawn on the second image or on both.

What is drawn on an image depends on the kind of occluder, the pair and the side alone, never on batch size, rank, run
or `config.seed`: every model ever evaluated on a set meets the same pictures. The artwork is the test split, which
training never draws; blocks of a growing share keep their places.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oaml_core.config import Occluder, Sides
from oaml_core.errors import EvaluationError, nearest
from oaml_core.evaluation.scoring.blocks import draw_blocks
from oaml_core.evaluation.statistics.seed import SEED

BOTH = "-both"
"""Ends the names of conditions that cover both images."""

Side = Literal[0, 1]
"""First or second image of a pair."""


@dataclass(frozen=True)
class Condition:
    """One way to show the images of each pair."""

    name: str
    """`clean`, the occluder's name, or `blocks-30` for 30 % of the image; with `-both` if both images are covered."""
    occluder: Occluder | None = None
    """What is drawn; None: nothing, or blocks of `block_share`."""
    block_share: float | None = None
    """Share of the image that blocks cover, in (0, 1)."""
    both: bool = False
    """Cover the first image too, by another drawing of the same kind."""

    def covers(self, side: Side) -> bool:
        """Whether anything is drawn on this image of a pair."""
        return (self.occluder is not None or self.block_share is not None) and (side == 1 or self.both)

    def apply(
        self, images: Tensor, pairs: NDArray[np.int64], landmarks: NDArray[np.float32] | None, side: Side = 1
    ) -> tuple[Tensor, Tensor]:
        """Images under this condition and their true visibility.

        Args:
            images: uint8 [n, 3, H, W], the first or second images of the pairs.
            pairs: [n], their pair numbers.
            landmarks: [2N, 5, 2] of the whole set in pixels; None, and NaN for an image: the standard template.
            side: which image of the pairs they are.

        Returns:
            Images uint8 [n, 3, H, W] and masks float [n, 1, H, W], 1 = visible.
        """
        if not self.covers(side):
            return images, torch.ones(len(images), 1, *images.shape[-2:])
        drawn = [self._draw(image, landmarks, int(pair), side) for image, pair in zip(images, pairs, strict=True)]
        return torch.stack([image for image, _ in drawn]), torch.stack([mask for _, mask in drawn])

    def _draw(
        self, image: Tensor, landmarks: NDArray[np.float32] | None, pair: int, side: Side
    ) -> tuple[Tensor, Tensor]:
        if self.block_share is not None:
            return draw_blocks(image, self.block_share, np.random.default_rng(_entropy("blocks", pair, side)))
        assert self.occluder is not None
        return draw_test_occluder(image, _landmarks_of(landmarks, 2 * pair + side), self.occluder, pair, side)


CLEAN = Condition("clean")


def conditions_of(
    occluders: Sequence[Occluder], block_shares: Sequence[float] = (), sides: Sequence[Sides] = ("second",)
) -> list[Condition]:
    """`clean`, and one condition an occluder and a share of blocks, for each choice of covered images."""
    single = [Condition(occluder, occluder) for occluder in occluders]
    single += [Condition(f"blocks-{100 * share:g}", block_share=share) for share in block_shares]
    doubled = [replace(condition, name=condition.name + BOTH, both=True) for condition in single]
    return [CLEAN, *(single if "second" in sides else []), *(doubled if "both" in sides else [])]


def condition_named(name: str) -> Condition:
    """The condition of that name.

    Raises:
        EvaluationError: there is no such condition.
    """
    if name == CLEAN.name:
        return CLEAN
    kind, both = name.removesuffix(BOTH), name.endswith(BOTH)
    for occluder in get_args(Occluder):
        if occluder == kind:
            return Condition(name, occluder, both=both)
    share = kind.removeprefix("blocks-")
    if share != kind and share.replace(".", "", 1).isdigit():
        return Condition(name, block_share=float(share) / 100, both=both)
    raise EvaluationError(f"{name!r} is no condition.{nearest(name, [CLEAN.name, *get_args(Occluder)])}")


def draw_test_occluder(
    image: Tensor, landmarks: Tensor | None, occluder: Occluder, pair: int, side: Side = 1
) -> tuple[Tensor, Tensor]:
    """The occluder of the test split that belongs to this image of this pair; see `draw_occluder`."""
    from oaml_core.data.augment.occlusion import draw_occluder

    seed = np.random.SeedSequence(_entropy(occluder, pair, side)).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(seed >> 1))
    return draw_occluder(image, landmarks, occluder, generator, split="test")


def _entropy(kind: str, pair: int, side: Side) -> list[int]:
    # The second image has the numbers that it had before first images could be covered.
    return [SEED, zlib.crc32(kind.encode()), pair, *([] if side == 1 else [1])]


def _landmarks_of(landmarks: NDArray[np.float32] | None, row: int) -> Tensor | None:
    """[5, 2] of one image; None if they are not known."""
    if landmarks is None or np.isnan(landmarks[row]).any():
        return None
    return torch.from_numpy(np.array(landmarks[row]))
