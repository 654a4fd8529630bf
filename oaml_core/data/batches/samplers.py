"""The kinds of batch plans, and which of them the configuration names."""

from __future__ import annotations

from typing import Any

import numpy as np

from oaml_core.config import DataConfig
from oaml_core.data.batches.graph_sampler import GraphBatchSampler, NearestClasses
from oaml_core.data.batches.identity_batches import IdentityBatchSampler
from oaml_core.data.batches.plan import BatchSampler, Ints
from oaml_core.errors import ConfigError, DataError
from oaml_core.registry import SAMPLERS, register_sampler


class ShuffleBatchSampler(BatchSampler):
    """Batches of all images in random order, once per epoch; an incomplete last batch is left out.

    Example:
        >>> import numpy as np
        >>> import oaml_core as oaml
        >>> batches = oaml.ShuffleBatchSampler(np.zeros(32, dtype=int), batch_size=8, seed=0)
        >>> len(batches)
        4
    """

    def _plan(self, generator: np.random.Generator) -> Ints:
        return np.resize(generator.permutation(len(self.labels)), len(self) * self.batch_size)


class PKBatchSampler(IdentityBatchSampler):
    """P identities × K images per batch (Hermans et al. 2017), each identity as often as it has images.

    An epoch deals each identity's shuffled images in groups of K and spreads the groups over the batches so that no
    identity is in a batch twice where that can be helped. Every identity is in every epoch; only those with fewer
    than K images repeat some within a group. Where the groups are more than the epoch holds, those that would repeat
    images are left out first.

    Example:
        >>> import numpy as np
        >>> import oaml_core as oaml
        >>> labels = np.repeat(np.arange(8), 4)
        >>> batches = oaml.PKBatchSampler(labels, batch_size=16, num_instances=4, seed=0)
        >>> len(batches), len(next(iter(batches)))
        (2, 16)
    """

    def __len__(self) -> int:
        """Return global batches in a whole epoch: as many images as there are, and more where that misses
        identities.
        """
        return max(len(self.labels) // self.batch_size, -(-len(self.identities) // self.identities_per_batch))

    def _plan(self, generator: np.random.Generator) -> Ints:
        wanted = len(self) * self.identities_per_batch
        groups = self._deal(generator, wanted)
        while len(groups) < wanted:
            groups = np.concatenate([groups, self._deal(generator, wanted)])
        groups = groups[:wanted].reshape(len(self), -1, self.unit)
        self._part_twins(groups, generator)
        return groups.reshape(len(self), self.batch_size)

    def _deal(self, generator: np.random.Generator, most: int) -> Ints:
        """Return every image once in a group of K of its identity, [groups, K], but for groups above `most`.

        An identity's groups are spread evenly over the epoch, so that one with many images is not all of its end.
        """
        shuffled = self._shuffled(generator)
        per_identity = -(-self._counts // self.unit)
        identity = np.repeat(np.arange(len(per_identity)), per_identity)
        number = np.arange(len(identity)) - np.repeat(np.cumsum(per_identity) - per_identity, per_identity)
        moment = (number + generator.random(len(number))) / per_identity[identity]
        if (surplus := len(identity) - most) > 0:
            repeats = (number + 1) * self.unit > self._counts[identity]
            repeating, others = (np.flatnonzero((number > 0) & chosen) for chosen in (repeats, ~repeats))
            dispensable = np.concatenate([generator.permutation(repeating), generator.permutation(others)])[:surplus]
            kept = np.ones(len(identity), dtype=bool)
            kept[dispensable] = False
            identity, number, moment = identity[kept], number[kept], moment[kept]
        order = np.argsort(moment, kind="stable")
        return self._groups(shuffled, identity[order], number[order])


class LocalPKBatchSampler(PKBatchSampler):
    """The batches of `PKBatchSampler`, the groups of each in the order of the data set.

    A worker's slice then comes from about the same stretch of the set in every batch, so that a node that streams the
    set wants a part of it. The other workers' stretches meet it in the batch as before.

    Example:
        >>> import numpy as np
        >>> from oaml_core.data.batches.samplers import LocalPKBatchSampler
        >>> labels = np.repeat(np.arange(8), 4)
        >>> batches = LocalPKBatchSampler(labels, batch_size=16, num_instances=4, seed=0, world_size=4, keys=False)
        >>> [sorted(images) for images in batches][0][0] < 16
        True
    """

    def _plan(self, generator: np.random.Generator) -> Ints:
        groups = super()._plan(generator).reshape(len(self), -1, self.unit)
        order = np.argsort(groups[:, :, 0], axis=1, kind="stable")
        return np.take_along_axis(groups, order[:, :, None], axis=1).reshape(len(self), self.batch_size)


class RandomIdentityBatchSampler(IdentityBatchSampler):
    """Batches in which each identity occurs once per epoch with K images: rare identities count like frequent ones.

    The last batch is filled up with identities of the epoch's beginning, of which it takes other images.

    Example:
        >>> import numpy as np
        >>> import oaml_core as oaml
        >>> labels = np.repeat(np.arange(8), 4)
        >>> batches = oaml.RandomIdentityBatchSampler(labels, batch_size=8, num_instances=2, seed=0)
        >>> len(batches)
        2
    """

    def __len__(self) -> int:
        """Return global batches in a whole epoch: the identities shared out among batches of P."""
        return -(-len(self.identities) // self.identities_per_batch)

    def _plan(self, generator: np.random.Generator) -> Ints:
        shuffled = self._shuffled(generator)
        identity = np.resize(generator.permutation(self.identities), len(self) * self.identities_per_batch)
        number = (np.arange(len(identity)) >= len(self.identities)).astype(np.int64)
        return self._groups(shuffled, identity, number)


@register_sampler("pk")
def _pk(labels: Ints, config: DataConfig, nearest: NearestClasses | None, **place: Any) -> BatchSampler:
    return PKBatchSampler(labels, config.batch_size, num_instances=config.num_instances, **place)


@register_sampler("pk_local")
def _pk_local(labels: Ints, config: DataConfig, nearest: NearestClasses | None, **place: Any) -> BatchSampler:
    return LocalPKBatchSampler(labels, config.batch_size, num_instances=config.num_instances, **place)


@register_sampler("random_identity")
def _random_identity(labels: Ints, config: DataConfig, nearest: NearestClasses | None, **place: Any) -> BatchSampler:
    return RandomIdentityBatchSampler(labels, config.batch_size, num_instances=config.num_instances, **place)


@register_sampler("shuffle")
def _shuffle(labels: Ints, config: DataConfig, nearest: NearestClasses | None, **place: Any) -> BatchSampler:
    return ShuffleBatchSampler(labels, config.batch_size, **place)


@register_sampler("graph")
def _graph(labels: Ints, config: DataConfig, nearest: NearestClasses | None, **place: Any) -> BatchSampler:
    if nearest is None:
        raise ConfigError("data.sampler graph wants a model to ask for nearest classes; it works in training only.")
    return GraphBatchSampler(labels, config.batch_size, num_instances=config.num_instances, nearest=nearest, **place)


def build_batch_sampler(
    config: DataConfig,
    labels: Ints,
    *,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    nearest: NearestClasses | None = None,
) -> BatchSampler:
    """Return the sampler that `config.sampler` names; `graph` wants `nearest`, see `GraphBatchSampler`.

    Raises:
        DataError: there are no labels. ConfigError: batch, identities and workers do not fit one another, or there is
            no model to ask for nearest classes.
    """
    if len(labels) == 0:
        raise DataError("The training set has no images: check data.min_images_per_identity and data.subset.")
    build = SAMPLERS.get(config.sampler)
    sampler: BatchSampler = build(labels, config, nearest, seed=seed, rank=rank, world_size=world_size)
    return sampler
