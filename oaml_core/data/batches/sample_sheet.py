"""A sheet of samples: what training does to its images, for people to look at before a night is spent on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from oaml_core.config import Config
from oaml_core.data.batches.datamodule import visibility_plan
from oaml_core.data.batches.plan import SampleKey, mixed_seed
from oaml_core.data.batches.training_faces import TrainingFaces, training_faces
from oaml_core.data.batches.visibility_plan import VisibilityKey
from oaml_core.data.prepared.prepared import PreparedDataset
from oaml_core.whole_file import written_whole

COLUMNS = 16
GAP = 2
"""White pixels between pictures."""
SHEET = -2
"""Stream of the samples' seeds below the run's seed."""

SAMPLES = "samples.png"
"""File in the run's folder that shows people what training does to its images."""


def write_sample_sheet(config: Config, dataset: PreparedDataset, path: Path, count: int = COLUMNS) -> None:
    """Write a PNG of `count` columns, each an image of the recognition batches: as it is, as training sees it, and its
    visibility (white = visible); below it as many of the visibility batches, where there are any.

    The images are chosen by `config.seed`, none of them twice; `path` appears when it is whole.

    Raises:
        DataError: one of the images is damaged.
    """
    faces = training_faces(config, dataset)
    rows = [_band(faces, _recognition_keys(faces, config.seed, count))]
    if (plan := visibility_plan(config, dataset)) is not None:
        rows.append(_band(faces, [key for number in range(count) for key in plan.global_batch(number)][:count]))
    width = max(band.shape[1] for band in rows)
    sheet = np.concatenate([_padded(band, 0, width - band.shape[1]) for band in rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as unfinished:
        Image.fromarray(sheet).save(unfinished, format="PNG")


def _recognition_keys(faces: TrainingFaces, seed: int, count: int) -> list[SampleKey]:
    chosen = torch.randperm(len(faces), generator=torch.Generator().manual_seed(seed))[:count].tolist()
    return [SampleKey(image, mixed_seed(seed, SHEET, place)) for place, image in enumerate(chosen)]


def _band(faces: TrainingFaces, keys: list[SampleKey] | list[VisibilityKey]) -> NDArray[np.uint8]:
    return np.concatenate([_column(faces, key) for key in keys], axis=1)


def _column(faces: TrainingFaces, key: SampleKey | VisibilityKey) -> NDArray[np.uint8]:
    """Before, after and mask of one image, below one another: uint8 [3 (H + gap), W + gap, 3]."""
    before, (after, mask, *_) = faces.read(key)[0], faces[key]
    shown = (before, after, (mask * 255).round().to(torch.uint8).expand_as(before))
    return np.concatenate([_padded(_picture(part), GAP, GAP) for part in shown])


def _picture(image: Tensor) -> NDArray[np.uint8]:
    return image.permute(1, 2, 0).numpy()


def _padded(picture: NDArray[np.uint8], below: int, right: int) -> NDArray[np.uint8]:
    return np.pad(picture, ((0, below), (0, right), (0, 0)), constant_values=255)
