"""The sheet of samples shows what training sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from oaml_core.config import AugmentConfig, Config
from oaml_core.data.dataset import FaceDataset
from oaml_core.data.inspect import write_sample_sheet
from oaml_core.data.prepare import prepare_dataset
from oaml_core.data.prepared import fetch_prepared
from oaml_core.data.transforms import TrainTransform
from oaml_core.errors import DataError
from oaml_core.store import open_store

TILE = 114


@pytest.fixture
def faces(config: Callable[..., Config], image_folder: Path, tmp_path: Path) -> FaceDataset:
    made = config(image_folder)
    return fetch_prepared(prepare_dataset(made, open_store(made.store)).uri, tmp_path / "prepared").train


def sheet(faces: FaceDataset, path: Path, count: int, **augment: float) -> np.ndarray:
    transform = TrainTransform(AugmentConfig(**augment))  # type: ignore[arg-type]
    write_sample_sheet(faces, transform, path, count, torch.Generator().manual_seed(0))
    with Image.open(path) as image:
        return np.asarray(image)


def test_rows_are_before_after_and_mask(faces: FaceDataset, tmp_path: Path) -> None:
    shown = sheet(faces, tmp_path / "new" / "samples.png", 5, flip_prob=0.0, mask_prob=1.0)
    assert shown.shape == (3 * TILE, 5 * TILE, 3)
    before, after, mask = (shown[row * TILE : row * TILE + 112] for row in range(3))
    assert (before[mask == 255] == after[mask == 255]).all()
    for column in range(5):
        tile = slice(column * TILE, column * TILE + 112)
        assert (mask[:, tile] == 0).any(), "an occluder is on every face"
        assert (before[:, tile] != after[:, tile]).any()


def test_what_is_shown_repeats_no_image_and_leaves_no_other_file(faces: FaceDataset, tmp_path: Path) -> None:
    folder = tmp_path / "sheets"
    shown = sheet(faces, folder / "samples.png", 100, flip_prob=0.0, mask_prob=0.0)
    assert shown.shape == (3 * TILE, len(faces) * TILE, 3)
    tiles = {shown[:112, n * TILE : n * TILE + 112].tobytes() for n in range(len(faces))}
    assert len(tiles) == len(faces)
    assert [path.name for path in folder.iterdir()] == ["samples.png"]


def test_the_same_generator_writes_the_same_sheet(faces: FaceDataset, tmp_path: Path) -> None:
    one, again = (sheet(faces, tmp_path / f"{name}.png", 4) for name in "ab")
    np.testing.assert_array_equal(one, again)


def test_a_sheet_of_nothing_is_refused(faces: FaceDataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one"):
        sheet(faces, tmp_path / "samples.png", 0)
