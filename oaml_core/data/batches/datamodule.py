"""Prepared faces as batches: the Lightning data module of recognition training."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from torch.utils.data import DataLoader

from oaml_core.config import Config
from oaml_core.data.batches.decoding import batch_loader
from oaml_core.data.batches.graph_sampler import NearestClasses
from oaml_core.data.batches.identity_batches import IdentityBatchSampler
from oaml_core.data.batches.lightning_sampler import PlacedSampler
from oaml_core.data.batches.parts_ahead import PartsAhead
from oaml_core.data.batches.plan import BatchSampler, SampleKey
from oaml_core.data.batches.samplers import PKBatchSampler, build_batch_sampler
from oaml_core.data.batches.shared_arrays import SharedArrays
from oaml_core.data.batches.training_faces import FINE_STRIDE, MAP_STRIDE, collate, training_faces
from oaml_core.data.batches.visibility_plan import VisibilityKey, VisibilityPlan
from oaml_core.data.prepared.prepared import PreparedDataset
from oaml_core.store.cache import cache_bytes

log = logging.getLogger(__name__)


class JointBatches(PlacedSampler):
    """Pairs of a recognition batch and its visibility batch, so that one pool of processes decodes both and neither
    runs ahead."""

    def __init__(self, recognition: BatchSampler, visibility: VisibilityPlan) -> None:
        self.recognition = recognition
        self.visibility = visibility
        self.sampler = recognition

    def place(self, rank: int, world_size: int) -> None:
        self.recognition.place(rank, world_size)
        self.visibility.place(rank, world_size)

    def __iter__(self) -> Iterator[list[SampleKey | VisibilityKey]]:
        first = self.recognition.epoch * len(self) + self.recognition.next_batch
        for number, keys in enumerate(self.recognition, start=first):
            yield [*keys, *self.visibility.slice(number)]

    def __len__(self) -> int:
        return len(self.recognition)


class FaceDataModule(L.LightningDataModule):
    """Training batches of one worker, resumable at any batch.

    Args:
        config: the whole configuration.
        dataset: what `prepare` made.
        rank, world_size: this worker among all of them.
        nearest: the nearest classes of each class, for `data.sampler graph`; see `GraphBatchSampler`.
        plans: folder of this node's workers, where they hold each plan once; None: each makes its own.
        node: ranks of this node's workers, for all of which this one has parts of a streamed set brought; None:
            another one does, or nobody.

    Raises:
        ConfigError, DataError: batch sizes, identities and workers do not fit one another.
    """

    def __init__(
        self,
        config: Config,
        dataset: PreparedDataset,
        rank: int = 0,
        world_size: int = 1,
        nearest: NearestClasses | None = None,
        plans: Path | None = None,
        node: range | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.dataset = dataset
        self.batch_sampler: BatchSampler = build_batch_sampler(
            config.data, dataset.train.labels, seed=config.seed, rank=rank, world_size=world_size, nearest=nearest
        )
        if plans is not None:
            self.batch_sampler.share(SharedArrays(plans))
        self.ahead = PartsAhead.of(self.batch_sampler, dataset.train, node, cache_bytes(config))
        if rank == 0:
            _announce_batches(self.batch_sampler)
        self.visibility = visibility_plan(config, dataset, rank, world_size)
        self._loader: DataLoader[Any] | None = None

    @property
    def batches_per_epoch(self) -> int:
        """Global batches in one epoch."""
        return len(self.batch_sampler)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the batches that are left of the sampler's epoch: the same loader every time, so that its processes
        stay.
        """
        if self._loader is None:
            fine = self.config.model.visibility_map != "coarse"
            joint = JointBatches(self.batch_sampler, self.visibility) if self.visibility else self.batch_sampler
            self._loader = batch_loader(
                training_faces(self.config, self.dataset),
                joint,
                partial(collate, stride=FINE_STRIDE if fine else MAP_STRIDE),
                self.config.data,
            )
        if self.ahead is not None:
            self.ahead.tell()
        return self._loader

    def close(self) -> None:
        """End what brings parts for the batches; the loader's processes go with the loader."""
        if self.ahead is not None:
            self.ahead.close()

    def state_dict(self) -> dict[str, Any]:
        """Return the position: epoch, batch in it, and what else the sampler's plan depends on."""
        return self.batch_sampler.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to a position that `state_dict` gave, on any number of workers."""
        self.batch_sampler.load_state_dict(state_dict)


def _announce_batches(sampler: BatchSampler) -> None:
    """Say in the log of what a global batch consists."""
    if not isinstance(sampler, IdentityBatchSampler):
        log.info("[DataModule] Using %s: batch_size=%d", type(sampler).__name__, sampler.batch_size)
        return
    names, instances, kind = sampler.identities_per_batch, sampler.unit, type(sampler).__name__
    called = "PK sampler" if isinstance(sampler, PKBatchSampler) else kind
    log.info("[DataModule] Using %s: N=%d, K=%d, batch_size=%d", called, names, instances, sampler.batch_size)
    log.info("[%s] Will sample %d identities per batch, %d instances each", kind, names, instances)


def visibility_plan(
    config: Config, dataset: PreparedDataset, rank: int = 0, world_size: int = 1
) -> VisibilityPlan | None:
    """Return the visibility batches that the configuration asks for; None if it asks for none. Raises what they
    raise.
    """
    size = config.data.visibility_batch_size
    if size is None:
        size = config.data.batch_size // 4 if dataset.visibility is not None else 0
    if size == 0:
        return None
    pairs = np.zeros(0, dtype=np.int64) if dataset.visibility is None else dataset.visibility.indices("train")
    return VisibilityPlan(
        pairs,
        len(dataset.train),
        size,
        config.data.visibility_clean_share,
        seed=config.seed,
        rank=rank,
        world_size=world_size,
    )
