"""Tiles by number for EDM's own training loops."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from oaml_core.errors import DataError
from oaml_core.restoration.edm_dataset import EDMPTDataset


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    """Folder of tiles, and a metadata file of its own beside it."""
    tiles = [
        {"tile_id": "a_10s_0", "split": "train", "domain": "photography", "data_type": "long"},
        {"tile_id": "a_0.04s_0", "split": "train", "domain": "photography", "data_type": "noisy"},
        {"tile_id": "b_10s_0", "split": "train", "domain": "microscopy"},
        {"tile_id": "b_0.1s_0", "split": "train", "domain": "microscopy"},
        {"tile_id": "c_10s_0", "split": "validation", "domain": "photography", "is_clean": True},
    ]
    folder = tmp_path / "pt"
    folder.mkdir()
    for number, tile in enumerate(tiles):
        torch.save(torch.full((3, 8, 8), number / 10), folder / f"{tile['tile_id']}.pt")
    metadata = tmp_path / "metadata_photography.json"
    metadata.write_text(json.dumps({"tiles": tiles}))
    return folder, metadata


def test_clean_tiles_come_without_a_label(place: tuple[Path, Path]) -> None:
    tiles = EDMPTDataset(*place, split="train", use_labels=False)
    assert len(tiles) == 2
    image, label = tiles[1]
    assert (image.shape, image.dtype, label.shape, label.dtype) == ((3, 8, 8), np.float32, (0,), np.float32)
    assert image.mean() == pytest.approx(0.2)
    assert tiles.label_dim == 0
    assert len(EDMPTDataset(*place, split="val")) == 1


def test_labels_name_the_domain(place: tuple[Path, Path]) -> None:
    tiles = EDMPTDataset(*place, use_labels=True)
    assert tiles.label_dim == 2
    assert [tiles[k][1].tolist() for k in range(2)] == [[0.0, 1.0], [1.0, 0.0]]
    with pytest.raises(DataError, match=r"metadata\.json is missing"):
        EDMPTDataset(place[0])
