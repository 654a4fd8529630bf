"""Batches of P identities with K images each, the form that all samplers of pairs share."""

from __future__ import annotations

from typing import Any

import numpy as np

from oaml_core.amounts import amount
from oaml_core.data.batches.plan import BatchSampler, Ints
from oaml_core.errors import ConfigError

IDENTITIES = 16
"""P of a batch whose size nobody gave: 16 × 4 = 64 images."""
SWAPS_TRIED = 64
"""Random places that are tried to part two groups of one identity in a batch."""


class IdentityBatchSampler(BatchSampler):
    """Batches of P identities × K images; what its sub-classes choose is which identities meet in a batch.

    Args:
        batch_size: P·K; None: that of num_identities.
        num_instances: K.
        num_identities: P, where batch_size does not say; None: 16.
        seed, rank, world_size, keys, others: see `BatchSampler`.

    Raises:
        ConfigError: the batch is no multiple of K or not P·K, there are fewer identities than P, or workers that P
            identities cannot be shared out among.
    """

    def __init__(
        self,
        labels: Ints,
        batch_size: int | None = None,
        *,
        num_instances: int = 4,
        num_identities: int | None = None,
        **others: Any,
    ) -> None:
        if batch_size is None:
            batch_size = (num_identities or IDENTITIES) * num_instances
        if num_identities is not None and batch_size != num_identities * num_instances:
            raise ConfigError(
                f"batch_size {batch_size} is not num_identities {num_identities} × num_instances {num_instances}. "
                "Leave one of the three out."
            )
        if batch_size % num_instances:
            raise ConfigError(
                f"data.batch_size {batch_size} is not a multiple of data.num_instances {num_instances}: a batch holds "
                "whole identities. Change one of the two."
            )
        self.unit = num_instances
        super().__init__(labels, batch_size, **others)
        self._counts = np.bincount(self.labels)
        self._start = np.cumsum(self._counts) - self._counts
        self.identities = np.flatnonzero(self._counts)
        """int64 [C]: the labels that there are images of."""
        if len(self.identities) < self.identities_per_batch:
            raise ConfigError(
                f"A batch of {batch_size} images, {num_instances} of each identity, wants "
                f"{amount(self.identities_per_batch, 'identity', 'identities')}; the data set has "
                f"{len(self.identities)}. Lower "
                f"data.batch_size to {max(1, len(self.identities)) * num_instances} or less, or raise "
                "data.num_instances."
            )

    @property
    def identities_per_batch(self) -> int:
        """Identities per batch (P)."""
        return self.batch_size // self.unit

    def _shuffled(self, generator: np.random.Generator) -> Ints:
        """Return image numbers [N]: identity after identity, the images of each in random order."""
        order = np.argsort(self.labels, kind="stable")
        labels = self.labels[order]
        # One sort of label + fraction; the factor keeps the sum below the next label in double precision.
        keys = labels + generator.random(len(labels)) * (1 - 2**-20)
        return order[np.argsort(keys, kind="stable")]

    def _groups(self, shuffled: Ints, identity: Ints, number: Ints) -> Ints:
        """Group `number` [n] of K images of `identity` [n] as [n, K]; an identity that has no more starts again.

        K images in a row are K different ones wherever the identity has so many.
        """
        place = number[:, None] * self.unit + np.arange(self.unit)
        return shuffled[self._start[identity][:, None] + place % self._counts[identity][:, None]]

    def _part_twins(self, groups: Ints, generator: np.random.Generator) -> None:
        """Swap groups [batches, P, K] in place until no batch has an identity twice, or no swap is found."""
        identity = self.labels[groups[:, :, 0]]
        order = np.argsort(identity, axis=1, kind="stable")
        ranked = np.take_along_axis(identity, order, 1)
        batches, places = np.nonzero(ranked[:, 1:] == ranked[:, :-1])
        for batch, place in zip(batches, order[batches, places + 1], strict=True):
            for other in generator.integers(0, identity.size, SWAPS_TRIED):
                there = divmod(int(other), identity.shape[1])
                if identity[there] not in identity[batch] and identity[batch, place] not in identity[there[0]]:
                    here = (batch, place)
                    identity[here], identity[there] = identity[there], identity[here]
                    groups[here], groups[there] = groups[there].copy(), groups[here].copy()
                    break
