"""Visibility batches planned from (seed, batch number) alone: occluded faces with their masks, and clean ones.

The two kinds cycle independently of each other and of the recognition batches: each goes through all of its images in
random order before any comes again, whatever the length of the other.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.data.batches.plan import Ints, mixed_seed, slice_of
from oaml_core.errors import ConfigError, DataError

OCCLUDED, CLEAN = 2, 3
"""Streams of random numbers below the run's seed, for the orders of images."""
SAMPLES = -1
"""Number in place of the epoch in the samples' seeds; seeds of recognition samples have an epoch."""


Kind = Literal["paired", "drawn", "clean"]


class VisibilityKey(NamedTuple):
    """One sample of a visibility batch."""

    image: int
    """Number of the pair in the visibility set where it is `paired`, else of the image in the training set."""
    seed: int
    """Seed of its augmentation."""
    kind: Kind
    """A face with a mask of its own; one that an occluder is drawn on; one whose map is all ones."""


class VisibilityPlan:
    """One worker's slices of the planned visibility batches.

    Args:
        pairs: int64 [N], numbers of the faces with masks to train on; empty: occluders are drawn on training images.
        images: number of training images: what is clean, and drawn on, is taken from them.
        batch_size: images in a global visibility batch.
        clean_share: share of them, in [0, 1], that is clean.
        seed: the run's seed.
        rank, world_size: this worker among all of them.

    Raises:
        ConfigError: there are more workers than images in a batch. DataError: there are no training images.
    """

    def __init__(
        self,
        pairs: Ints,
        images: int,
        batch_size: int,
        clean_share: float,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not images:
            raise DataError("The training set has no images to take clean faces from.")
        self.pairs = pairs
        self.images = images
        self.batch_size = batch_size
        self.clean = round(batch_size * clean_share)
        """Clean faces in each global batch."""
        self.seed = seed
        self.place(rank, world_size)

    def place(self, rank: int, world_size: int) -> None:
        """Set which worker this is: `rank` of `world_size`. ConfigError: there are more workers than images in a
        batch."""
        if world_size > self.batch_size:
            raise ConfigError(
                f"{amount(world_size, 'worker')} cannot share a visibility batch of {self.batch_size} images: "
                "any number from 1 "
                f"to {self.batch_size} works. Take fewer workers or a larger data.visibility_batch_size."
            )
        self.mine = slice_of(rank, world_size, self.batch_size)

    def global_batch(self, number: int) -> list[VisibilityKey]:
        """Return all samples of batch `number`, counted from 0 over all epochs: occluded and clean ones mixed evenly,
        so that
        every worker's slice has both."""
        first, occluded = number * self.batch_size, self.batch_size - self.clean
        paired = len(self.pairs) > 0
        places = self._cycle(OCCLUDED, len(self.pairs) if paired else self.images, number * occluded, occluded)
        images = np.r_[
            self.pairs[places] if paired else places, self._cycle(CLEAN, self.images, number * self.clean, self.clean)
        ]
        order = np.argsort(np.r_[_evenly(occluded), _evenly(self.clean)], kind="stable")
        kinds: tuple[Kind, Kind] = ("paired" if paired else "drawn", "clean")
        return [
            VisibilityKey(int(images[which]), mixed_seed(self.seed, SAMPLES, first + place), kinds[which >= occluded])
            for place, which in enumerate(order.tolist())
        ]

    def slice(self, number: int) -> list[VisibilityKey]:
        """Return this worker's part of batch `number`."""
        return self.global_batch(number)[self.mine]

    def _cycle(self, stream: int, size: int, first: int, count: int) -> NDArray[np.int32]:
        """Return places `first` to `first + count` of an endless row of random orders of `size` images."""
        cycle, start = divmod(first, size)
        cycles = range(cycle, (first + count - 1) // size + 1) if count else range(cycle, cycle + 1)
        return np.concatenate([_order(self.seed, stream, cycle, size) for cycle in cycles])[start : start + count]


def _evenly(count: int) -> NDArray[np.float64]:
    """Return places in [0, 1] of `count` things spread evenly."""
    return (np.arange(count) + 0.5) / max(1, count)


@lru_cache(maxsize=4)
def _order(seed: int, stream: int, cycle: int, size: int) -> NDArray[np.int32]:
    """Return a random order of `size` images; two of each stream are wanted at a time."""
    return np.random.default_rng([seed, stream, cycle]).permutation(np.arange(size, dtype=np.int32))
