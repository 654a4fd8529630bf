"""Global batches planned from (labels, seed, epoch) alone; each worker takes its slice of every one.

How many workers there are changes who computes a sample, never which samples a batch holds. A plan can be entered
at any batch, so that a restarted run goes on with the batch after its checkpoint.
"""

from __future__ import annotations

import hashlib
import logging
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.data.batches.lightning_sampler import PlacedSampler
from oaml_core.data.batches.shared_arrays import SharedArrays
from oaml_core.errors import ConfigError

log = logging.getLogger(__name__)
Ints = NDArray[np.int64]
_MASK = 2**64 - 1
LOADER_OPTIONS = frozenset(
    {"num_workers", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context", "generator"}
    | {"prefetch_factor", "persistent_workers"}
)
"""Options of a loader that tools look for on a sampler too. The loader's own decide; these are only kept."""
LOADER_ATTRIBUTES = LOADER_OPTIONS | {"batch_size", "drop_last", "sampler"}
"""Attributes that Lightning and tools like it ask a batch sampler for."""


def missing_attributes(sampler: object) -> list[str]:
    """Return the loader attributes that a batch sampler lacks, by name; Lightning takes it where none is missing."""
    return sorted(name for name in LOADER_ATTRIBUTES if not hasattr(sampler, name))


class SampleKey(NamedTuple):
    """One sample of a batch: the number of its image and the seed of its augmentation."""

    image: int
    """Number of the image in the data set."""
    seed: int
    """Seed of its augmentation: a function of (run seed, epoch, place in the epoch), not of the worker."""


class BatchSampler(PlacedSampler):
    """One worker's slices of the planned global batches.

    Args:
        labels: int64 [N], identity of each image.
        batch_size: images in a global batch.
        seed: the run's seed.
        rank, world_size: this worker among all of them.
        keys: yield sample keys, which `TrainingFaces` takes; False: plain image numbers, for any other dataset.
        others: options of a loader, kept as attributes for tools that ask for them; others are named in the log.

    Raises:
        ConfigError: there are more workers than a global batch has units to share out.
    """

    drop_last = True
    """Every global batch is full; Lightning asks."""
    num_workers = 0
    pin_memory = False
    timeout = 0.0
    worker_init_fn = None
    multiprocessing_context = None
    generator = None
    prefetch_factor = None
    persistent_workers = False

    def __init__(
        self,
        labels: Ints,
        batch_size: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        keys: bool = True,
        **others: Any,
    ) -> None:
        for name, value in others.items():
            if name in LOADER_OPTIONS:
                setattr(self, name, value)
            else:
                log.warning("%s does not use the option %s", type(self).__name__, name)
        self.keys = keys
        self.labels = np.asarray(labels, dtype=np.int64)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.next_batch = 0
        self._planned: tuple[int, Ints] | None = None
        self._shared: SharedArrays | None = None
        self.place(rank, world_size)

    unit = 1
    """Images that stay together on one worker."""

    def place(self, rank: int, world_size: int) -> None:
        units = self.batch_size // self.unit
        if world_size > units:
            raise ConfigError(
                f"{amount(world_size, 'worker')} cannot share a global batch of "
                f"{amount(self.batch_size, 'image')} in units of {self.unit} "
                f"(data.num_instances): any number from 1 to {units} works. Take fewer workers or a larger "
                "data.batch_size."
            )
        self.rank, self.world_size = rank, world_size

    def share(self, arrays: SharedArrays) -> None:
        """Hold plans once for all workers of the node, which must all ask for them: a plan of WebFace42M takes 336 MB,
        and 2.1 GB for the time of its making.
        """
        self._shared = arrays

    @abstractmethod
    def _plan(self, generator: np.random.Generator) -> Ints:
        """Return image numbers [batches, batch_size] of one epoch."""

    @property
    def sampler(self) -> BatchSampler:
        """Return this sampler; Lightning announces epochs to `batch_sampler.sampler`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of `epoch`; nothing happens in the middle of it."""
        if epoch != self.epoch:
            self.epoch, self.next_batch = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Return the position: the epoch, and the batch in it that comes next."""
        return {"epoch": self.epoch, "batch": self.next_batch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position that `state_dict` gave, on any number of workers."""
        self.epoch, self.next_batch = int(state["epoch"]), int(state["batch"])

    def __len__(self) -> int:
        """Return global batches in a whole epoch, whatever the position."""
        return max(1, len(self.labels) // self.batch_size)

    def __iter__(self) -> Iterator[list[Any]]:
        """This worker's slices of the batches from the position on: keys of samples, or numbers of images.

        Reading ahead does not move the position.
        """
        for batch in range(self.next_batch, len(self)):
            own = self.global_batch(batch)[self.slice_of(self.rank)]
            yield own if self.keys else [key.image for key in own]

    def global_batch(self, batch: int) -> list[SampleKey]:
        """Return all samples of global batch number `batch` of the current epoch."""
        indices = self.epoch_plan()[batch]
        first = batch * self.batch_size
        return [
            SampleKey(int(index), mixed_seed(self.seed, self.epoch, first + place))
            for place, index in enumerate(indices)
        ]

    def slice_of(self, rank: int) -> slice:
        """Return the part of every global batch that worker `rank` takes."""
        return slice_of(rank, self.world_size, self.batch_size // self.unit, self.unit)

    def epoch_plan(self) -> Ints:
        """Return image numbers [batches, batch_size] of the current epoch: every global batch, all workers' slices."""
        if self._planned is None or self._planned[0] != self.epoch:
            self._planned = None  # two plans need not be held at once
            self._ask()
            shared = self._shared
            plan = self._whole_plan() if shared is None else shared.get("plan", self._premises(), self._whole_plan)
            self._planned = (self.epoch, plan)
        return self._planned[1]

    def _whole_plan(self) -> Ints:
        plan = self._plan(np.random.default_rng([self.seed, self.epoch]))
        return plan.reshape(len(self), self.batch_size)

    def _ask(self) -> None:
        """Look up what a plan needs of the other workers; all of them do so before one of them plans an epoch."""

    def _premises(self) -> str:
        """Return a digest of what the plan of the epoch depends on."""
        return digest(self.labels, type(self).__name__, self.seed, self.epoch, self.batch_size, self.unit)


def digest(array: Ints, *others: object) -> str:
    """Return 16 hexadecimal digits of an array's values and of what else is given, by its text."""
    found = hashlib.blake2b(repr(others).encode(), digest_size=8)
    found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def slice_of(rank: int, world_size: int, units: int, unit: int = 1) -> slice:
    """Return the part that worker `rank` takes of `units` units of `unit` images; the first workers take one unit
    more.
    """
    each, extra = divmod(units, world_size)
    start = rank * each + min(rank, extra)
    return slice(start * unit, (start + each + (rank < extra)) * unit)


def mixed_seed(seed: int, stream: int, place: int) -> int:
    """Return a 63-bit mix (splitmix64, Steele et al. 2014) of three numbers: the run's seed, an epoch, a place in
    it.
    """
    mixed = (seed * 0x9E3779B97F4A7C15 + stream * 0xBF58476D1CE4E5B9 + place) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return (mixed ^ (mixed >> 31)) >> 1
