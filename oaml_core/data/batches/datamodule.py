"""Prepared faces as batches: the Lightning data module of recognition training."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from oaml_core.config import AugmentConfig, Config, DataConfig
from oaml_core.data.augment.cutouts import Cutouts, open_cutouts
from oaml_core.data.augment.transforms import TrainTransform
from oaml_core.data.batches.graph_sampler import NearestClasses
from oaml_core.data.batches.lightning_sampler import PlacedSampler
from oaml_core.data.batches.plan import BatchSampler, IdentityBatchSampler, SampleKey
from oaml_core.data.batches.samplers import PKBatchSampler, build_batch_sampler
from oaml_core.data.batches.visibility_plan import VisibilityKey, VisibilityPlan
from oaml_core.data.prepared.dataset import FaceDataset
from oaml_core.data.prepared.prepared import PreparedDataset
from oaml_core.data.prepared.visibility_set import VisibilityDataset
from oaml_core.processes import die_with_parent
from oaml_core.visibility import resize_visibility

log = logging.getLogger(__name__)
MAP_STRIDE = 16
"""Pixels of the image that one place of every backbone's feature map spans, along each axis."""


class VisibilityBatch(NamedTuple):
    """One worker's slice of a global visibility batch."""

    images: Tensor
    """uint8 [v, 3, H, W], RGB."""
    visibility: Tensor
    """float32 [v, 1, H/16, W/16] in [0, 1]: masks at the size of the feature map."""


class TrainingBatch(NamedTuple):
    """One worker's slice of a global batch."""

    images: Tensor
    """uint8 [b, 3, H, W], RGB."""
    visibility: Tensor
    """float32 [b, 1, H/16, W/16] in [0, 1]: the drawn occluders at the size of the feature map."""
    labels: Tensor
    """int64 [b]."""
    samples: Tensor
    """int64 [b]: numbers of the images in the data set."""
    occluded: VisibilityBatch | None = None
    """What the visibility map is learnt from; None: from this batch's own drawn occluders."""
    clean: Tensor | None = None
    """uint8 [b, 3, H, W]: the same faces without drawn occluders, where a loss term compares with them."""
    mirrored: Tensor | None = None
    """int64 [b], 1 for faces that are mirrored: in place of `clean` where their targets are known."""


class TrainingFaces(Dataset[Any]):
    """Images as training sees them: augmented and occluded, each as its key says.

    Args:
        faces: training images.
        augment: what is done to them.
        pairs: faces with masks, where visibility keys name any.
        with_clean: give each face without drawn occluders too.
        targets_known: give whether it is mirrored instead.
        cutouts: the user's cut-outs; None: there are none.
    """

    def __init__(
        self,
        faces: FaceDataset,
        augment: AugmentConfig,
        pairs: VisibilityDataset | None = None,
        *,
        with_clean: bool = False,
        targets_known: bool = False,
        cutouts: Cutouts | None = None,
    ) -> None:
        self.with_clean, self.targets_known = with_clean, targets_known
        self.faces = faces
        self.pairs = pairs
        self.transform = TrainTransform(augment, faces.image_size, cutouts)
        clean = replace(augment, mask_prob=0.0, random_occlusion_prob=0.0, erasing_prob=0.0)
        self._covered = TrainTransform(replace(clean, mask_prob=1.0), faces.image_size, cutouts)
        self._uncovered = TrainTransform(clean, faces.image_size)

    def read(self, key: SampleKey | VisibilityKey) -> tuple[Tensor, Tensor | None]:
        """Return the image uint8 [3, H, W] as it is, and its mask float32 [1, H, W] where it has one of its own."""
        if self.pairs is not None and isinstance(key, VisibilityKey) and key.kind == "paired":
            return self.pairs.read(key.image)
        return self.faces.read(key.image), None

    def __getitem__(self, key: SampleKey | VisibilityKey) -> tuple[Any, ...]:
        """Return image uint8 [3, H, W], visibility float32 [1, H, W], label and number; label -1 for visibility keys.

        With `with_clean` the uncovered image uint8 [3, H, W] comes fifth, or with `targets_known` True where it is
        mirrored.
        """
        image, mask = self.read(key)
        if isinstance(key, SampleKey):
            label = int(self.faces.labels[key.image])
            seen, visible, clean = self.transform.views(image, self.landmarks(key.image), key.seed)
            item = seen, visible, label, key.image
            if self.targets_known:
                return *item, not torch.equal(clean, image)
            return (*item, clean) if self.with_clean else item
        landmarks = self.landmarks(key.image) if mask is None else None
        transform = self._covered if key.kind == "drawn" else self._uncovered
        seen, visible, clean = transform.views(image, landmarks, key.seed, mask)
        item = seen, visible, -1, key.image
        if self.targets_known:
            return *item, False
        return (*item, clean) if self.with_clean else item

    def landmarks(self, image: int) -> NDArray[np.float32] | None:
        """Return landmarks [5, 2] of image number `image` in pixels, or None if they are not known."""
        points = None if self.faces.landmarks is None else self.faces.landmarks[image]
        return None if points is None or np.isnan(points).any() else points

    def __len__(self) -> int:
        return len(self.faces)


def collate(items: list[tuple[Any, ...]]) -> TrainingBatch:
    """Stack items, those with the label -1 apart, which come last.

    Masks shrink to the feature map here, so that they travel between processes small.
    """
    images, masks, labels, samples, *clean = zip(*items, strict=True)
    stacked = torch.stack(images)
    grid = (stacked.shape[2] // MAP_STRIDE, stacked.shape[3] // MAP_STRIDE)
    visibility = resize_visibility(torch.stack(masks), grid)
    count = sum(label >= 0 for label in labels)
    known = bool(clean) and isinstance(clean[0][0], bool)
    return TrainingBatch(
        stacked[:count],
        visibility[:count],
        torch.tensor(labels[:count]),
        torch.tensor(samples[:count]),
        VisibilityBatch(stacked[count:], visibility[count:]) if count < len(labels) else None,
        torch.stack(clean[0][:count]) if clean and not known else None,
        torch.tensor(clean[0][:count], dtype=torch.int64) if known else None,
    )


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
    ) -> None:
        super().__init__()
        self.config = config
        self.dataset = dataset
        self.batch_sampler: BatchSampler = build_batch_sampler(
            config.data, dataset.train.labels, seed=config.seed, rank=rank, world_size=world_size, nearest=nearest
        )
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
            joint = JointBatches(self.batch_sampler, self.visibility) if self.visibility else self.batch_sampler
            self._loader = DataLoader(
                training_faces(self.config, self.dataset),
                batch_sampler=joint,
                collate_fn=collate,
                **loader_options(self.config.data),
            )
        return self._loader

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


def training_faces(config: Config, dataset: PreparedDataset) -> TrainingFaces:
    """Return the images of a data set as training sees them."""
    folder = config.data.occluders
    return TrainingFaces(
        dataset.train,
        config.augment,
        dataset.visibility,
        with_clean=config.loss.distils,
        targets_known=config.loss.distils and config.loss.targets_known,
        cutouts=None if folder is None else open_cutouts(Path(folder)),
    )


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


def loader_options(config: DataConfig) -> dict[str, Any]:
    """Options of `DataLoader` that the configuration decides."""
    if config.num_workers == 0:
        return {"num_workers": 0}
    return {
        "num_workers": config.num_workers,
        "pin_memory": config.pin_memory and torch.cuda.is_available(),
        "persistent_workers": config.persistent_workers,
        "prefetch_factor": config.prefetch_factor,
        "worker_init_fn": stand_apart,
    }


def stand_apart(number: int) -> None:
    """Let a process that decodes images pass over signals to the trainer's process group, and end with the trainer.

    torchrun and the terminal signal the group. The trainer answers after its step, and needs the images until then; it
    can still end this process by a signal of its own, as it does at its exit.

    Args:
        number: of the process; not used.
    """
    die_with_parent(signal.SIGKILL)
    os.setpgid(0, 0)
