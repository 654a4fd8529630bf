"""A sheet of samples: what training does to its images, for people to look at before a night is spent on it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from oaml_core.data.dataset import FaceDataset
from oaml_core.data.transforms import TrainTransform
from oaml_core.errors import DataError

GAP = 2
"""White pixels between pictures."""


def write_sample_sheet(
    dataset: FaceDataset, transform: TrainTransform, path: Path, count: int, generator: torch.Generator
) -> None:
    """Write a PNG of `count` columns, each an image of the data set: as it is, as training sees it, and its visibility
    (white = visible). Images are drawn without repetition; `path` appears when it is whole.

    Raises:
        DataError: `count` is below 1, the data set is empty, or one of the images drawn is damaged.
    """
    if count < 1 or len(dataset) == 0:
        raise DataError(f"A sheet of {count} of {len(dataset)} images shows nothing; take at least one of each.")
    chosen = torch.randperm(len(dataset), generator=generator)[:count].tolist()
    sheet = np.concatenate([_column(dataset, transform, index, generator) for index in chosen], axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    Image.fromarray(sheet).save(unfinished, format="PNG")
    unfinished.replace(path)


def _column(
    dataset: FaceDataset, transform: TrainTransform, index: int, generator: torch.Generator
) -> NDArray[np.uint8]:
    """Before, after and mask of one image, below one another: uint8 [3 (H + gap), W + gap, 3]."""
    landmarks = None if dataset.landmarks is None else dataset.landmarks[index]
    if landmarks is not None and np.isnan(landmarks).any():
        landmarks = None
    before = dataset.read(index)
    after, mask = transform(before, landmarks, generator)
    shown = (before, after, (mask * 255).round().to(torch.uint8).expand_as(before))
    framed = (
        np.pad(picture.permute(1, 2, 0).numpy(), ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for picture in shown
    )
    return np.concatenate(list(framed))
