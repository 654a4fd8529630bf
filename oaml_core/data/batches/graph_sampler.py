"""Batches of classes that look alike: graph sampling (Liao & Shao, "Graph Sampling Based Deep Metric Learning for
Generalizable Person Re-Identification", CVPR 2022).

Each batch is an anchor class and its nearest classes, so that a metric learner sees the pairs that it confuses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oaml_core.amounts import amount
from oaml_core.data.batches.identity_batches import IdentityBatchSampler
from oaml_core.data.batches.plan import Ints, digest
from oaml_core.errors import ConfigError, DataError

ClassDistances = Callable[[Ints], Tensor] | Tensor | NDArray[np.floating]
"""Distances from classes to all classes: [C, C], or what gives rows of it, `distances(int64 [rows]) -> [rows, C]`."""
NearestClasses = Callable[[Ints, int], Ints]
"""`(classes int64 [A], count) -> int64 [A, count]`: the so many nearest other classes of each, nearest first."""
BLOCK_ELEMENTS = 1 << 26
"""Distances that are held at a time: 256 MiB of float32, 33 rows of two million classes."""
ANCHORS = 1
"""Stream of random numbers below the run's seed that orders the anchors."""


class GraphBatchSampler(IdentityBatchSampler):
    """An anchor identity and its P − 1 nearest ones, K images each.

    Anchors come in random order, each once before any comes again, on from one epoch to the next; an epoch has as many
    batches as other samplers give it. An identity that is shown again within an epoch shows other images.

    The nearest classes are asked for when an epoch is first asked for a batch, for its anchors alone: one in 24 classes
    of WebFace42M in batches of 512. They belong to the position: `state_dict` holds them, so that a run resumed in
    mid-epoch goes on with the same plan although its model has moved on. Workers must hold the same: where their
    models could differ in the last digit, give one worker's answer to all.

    Args:
        labels: int64 [N], contiguous from 0.
        nearest: what `nearest_classes` gives of a model; asked anew every epoch.
        batch_size, num_instances, seed, rank, world_size: see `IdentityBatchSampler`.

    Raises:
        DataError: labels with gaps.
        ConfigError: see `IdentityBatchSampler`.
    """

    def __init__(
        self,
        labels: Ints,
        batch_size: int,
        *,
        num_instances: int,
        nearest: NearestClasses,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(labels, batch_size, num_instances=num_instances, seed=seed, rank=rank, world_size=world_size)
        if len(self.identities) != len(self._counts):
            missing = np.flatnonzero(self._counts == 0)
            raise DataError(f"Nearest classes want labels without gaps; there is no image of label {missing[0]}.")
        self.nearest = nearest
        self._neighbours: tuple[int, Ints] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the position, and `neighbours`: int32 [batches, P − 1] nearest classes of its epoch's anchors, None
        before the first.
        """
        nearest = None
        if self._neighbours is not None and self._neighbours[0] == self.epoch:
            nearest = torch.from_numpy(self._neighbours[1].astype(np.int32))
        return super().state_dict() | {"neighbours": nearest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position that `state_dict` gave, on any number of workers.

        Raises:
            ConfigError: its nearest classes are of another data set or batch size.
        """
        super().load_state_dict(state)
        nearest = state.get("neighbours")
        if nearest is None:
            return
        if tuple(nearest.shape) != (len(self), self.identities_per_batch - 1):
            raise ConfigError(
                f"The position holds nearest classes {list(nearest.shape)}; this sampler has "
                f"{amount(len(self), 'batch', 'batches')} of {amount(self.identities_per_batch, 'class', 'classes')}. "
                "data.batch_size, data.num_instances and the data set must be those that it was saved with."
            )
        self._planned = None
        self._neighbours = (self.epoch, nearest.numpy().astype(np.int64))

    def _ask(self) -> None:
        if self._neighbours is None or self._neighbours[0] != self.epoch:
            self._neighbours = (self.epoch, self.nearest(self._anchors(), self.identities_per_batch - 1))

    def _premises(self) -> str:
        assert self._neighbours is not None  # asked for before
        return super()._premises() + digest(self._neighbours[1])

    def _plan(self, generator: np.random.Generator) -> Ints:
        assert self._neighbours is not None  # asked for before
        identity = np.concatenate([self._anchors()[:, None], self._neighbours[1]], axis=1).ravel()
        return self._groups(self._shuffled(generator), identity, _occurrence(identity))

    def _anchors(self) -> Ints:
        """Anchors [batches] of the epoch: a window on random orders of all classes, one order after another."""
        classes, first = len(self.identities), self.epoch * len(self)
        cycles = range(first // classes, (first + len(self) - 1) // classes + 1)
        orders = [np.random.default_rng([self.seed, ANCHORS, cycle]).permutation(classes) for cycle in cycles]
        return np.concatenate(orders)[first % classes :][: len(self)]


def nearest_classes(distances: ClassDistances, classes: Ints, count: int, total: int) -> Ints:
    """Return the nearest other classes of some classes, int64 [A, count], nearest first; computed in blocks of rows.

    Args:
        distances: from a class to all.
        classes: int64 [A], whose neighbours are wanted.
        count: how many of each.
        total: C, number of all classes.

    Raises:
        DataError: a block of distances is not [rows, total], or not finite.
    """
    rows = max(1, BLOCK_ELEMENTS // total)
    found = np.empty((len(classes), count), dtype=np.int64)
    for start in range(0, len(classes), rows):
        some = classes[start : start + rows]
        given = distances(some) if callable(distances) else distances[some]
        part = torch.as_tensor(given).detach().clone()
        if tuple(part.shape) != (len(some), total):
            raise DataError(
                f"Distances of {amount(len(some), 'class', 'classes')} have the shape {list(part.shape)}; "
                f"[{len(some)}, {total}] is wanted."
            )
        if not torch.isfinite(part).all():
            raise DataError(
                f"Distances of classes {some.min()} to {some.max()} are not finite: has the model diverged?"
            )
        part[torch.arange(len(some)), torch.from_numpy(some)] = torch.inf  # nobody is its own neighbour
        found[start : start + rows] = part.topk(count, dim=1, largest=False).indices.cpu().numpy()
    return found


def feature_distances(features: Tensor) -> Callable[[Ints], Tensor]:
    """Return squared Euclidean distances [rows, C] between class features [C, E], of the classes that are asked for, on
    the features' device.

    Features may be a margin head's class weights, or the embedding of one image of each class.
    """
    squared = features.square().sum(1)

    def of(classes: Ints) -> Tensor:
        rows = torch.from_numpy(classes).to(features.device)
        # In place: at two million classes every copy of a block is large.
        return (features[rows] @ features.T).mul_(-2).add_(squared).add_(squared[rows, None])

    return of


def _occurrence(values: Ints) -> Ints:
    """Count how often the value of each place [n] occurs before it."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    occurrence = np.empty(len(values), dtype=np.int64)
    occurrence[order] = np.arange(len(values)) - np.repeat(starts, np.diff(np.r_[starts, len(values)]))
    return occurrence
