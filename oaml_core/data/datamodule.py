"""Prepared faces as batches: the Lightning data module of recognition training."""

from __future__ import annotations

from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from oaml_core.config import Config, DataConfig
from oaml_core.data.dataset import FaceDataset
from oaml_core.data.prepared import PreparedDataset
from oaml_core.data.samplers import BatchSampler, SampleKey, build_batch_sampler
from oaml_core.data.transforms import TrainTransform
from oaml_core.losses.visibility import resize_visibility

MAP_STRIDE = 16
"""Pixels of the image that one place of every backbone's feature map spans, along each axis."""


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


class TrainingFaces(Dataset[Any]):
    """Images as training sees them: augmented and occluded, each as its sample key says."""

    def __init__(self, faces: FaceDataset, transform: TrainTransform) -> None:
        self.faces = faces
        self.transform = transform

    def __getitem__(self, key: SampleKey) -> tuple[Tensor, Tensor, int, int]:
        generator = torch.Generator().manual_seed(key.seed)
        landmarks = None if self.faces.landmarks is None else self.faces.landmarks[key.image]
        if landmarks is not None and np.isnan(landmarks).any():
            landmarks = None
        image, mask = self.transform(self.faces.read(key.image), landmarks, generator)
        return image, mask, int(self.faces.labels[key.image]), key.image

    def __len__(self) -> int:
        return len(self.faces)


def collate(items: list[tuple[Tensor, Tensor, int, int]]) -> TrainingBatch:
    """Stack items; masks shrink to the feature map here, so that they travel between processes small."""
    images, masks, labels, samples = zip(*items, strict=True)
    stacked = torch.stack(images)
    grid = (stacked.shape[2] // MAP_STRIDE, stacked.shape[3] // MAP_STRIDE)
    return TrainingBatch(
        stacked, resize_visibility(torch.stack(masks), grid), torch.tensor(labels), torch.tensor(samples)
    )


class FaceDataModule(L.LightningDataModule):
    """Training batches of one worker, resumable at any batch.

    Args:
        config: the whole configuration.
        dataset: what `prepare` made.
        rank, world_size: this worker among all of them.
    """

    def __init__(self, config: Config, dataset: PreparedDataset, rank: int = 0, world_size: int = 1) -> None:
        super().__init__()
        self.config = config
        self.dataset = dataset
        self.batch_sampler: BatchSampler = build_batch_sampler(
            config.data, dataset.train.labels, seed=config.seed, rank=rank, world_size=world_size
        )

    @property
    def batches_per_epoch(self) -> int:
        """Global batches in one epoch."""
        return len(self.batch_sampler)

    def train_dataloader(self) -> DataLoader[Any]:
        """The batches that are left of the sampler's epoch."""
        return DataLoader(
            TrainingFaces(self.dataset.train, TrainTransform(self.config.augment)),
            batch_sampler=self.batch_sampler,
            collate_fn=collate,
            **loader_options(self.config.data),
        )

    def state_dict(self) -> dict[str, int]:
        """The position: epoch, and batch in it."""
        return self.batch_sampler.state_dict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go to a position that `state_dict` gave, on any number of workers."""
        self.batch_sampler.load_state_dict(state_dict)


def loader_options(config: DataConfig) -> dict[str, Any]:
    """Options of `DataLoader` that the configuration decides."""
    if config.num_workers == 0:
        return {"num_workers": 0}
    return {
        "num_workers": config.num_workers,
        "pin_memory": config.pin_memory and torch.cuda.is_available(),
        "persistent_workers": config.persistent_workers,
        "prefetch_factor": config.prefetch_factor,
    }
