"""What a training worker is handed: recognition and visibility batches, from one loader, resumable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from oaml_core.config import AugmentConfig, Config
from oaml_core.data.batches.datamodule import FaceDataModule
from oaml_core.data.batches.training_faces import TrainingBatch
from oaml_core.data.prepare.prepare import prepare_dataset
from oaml_core.data.prepared.prepared import PreparedDataset, fetch_prepared
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.errors import ConfigError
from oaml_core.store import open_store
from tests.data_layer.conftest import face

PAIRS = 30


@pytest.fixture
def with_masks(image_folder: Path) -> Path:
    """The image folder with faces whose left half is covered: black there, and 0 in the mask."""
    for part in ("kept_faces", "masks"):
        (image_folder / part).mkdir()
    for number in range(PAIRS):
        image, mask = face(100 + number), np.full((112, 112), 255, np.uint8)
        image[:, :56], mask[:, :56] = 0, 0
        (image_folder / "kept_faces" / f"{number}.jpg").write_bytes(encode_jpeg(image))
        Image.fromarray(mask).save(image_folder / "masks" / f"{number}_mask.png")
    return image_folder


def prepared(config: Config, folder: Path) -> PreparedDataset:
    return fetch_prepared(prepare_dataset(config, open_store(config.store)).uri, folder)


def batches(config: Config, dataset: PreparedDataset, **place: Any) -> list[TrainingBatch]:
    return list(FaceDataModule(config, dataset, **place).train_dataloader())


def augmented(config: Config, **keys: Any) -> Config:
    from dataclasses import replace

    return replace(config, augment=AugmentConfig(**keys))


def test_faces_with_masks_make_a_visibility_batch(
    config: Callable[..., Config], with_masks: Path, tmp_path: Path
) -> None:
    made = augmented(
        config(with_masks, batch_size=4, num_workers=0, visibility_batch_size=10), mask_prob=0.0, flip_prob=0.5
    )
    batch = batches(made, prepared(made, tmp_path / "data"))[0]
    assert batch.images.shape == (4, 3, 112, 112)
    assert (batch.visibility == 1).all()
    assert batch.occluded is not None
    images, maps = batch.occluded
    assert images.shape == (10, 3, 112, 112)
    assert maps.shape == (10, 1, 7, 7)
    clean = (maps == 1).all((1, 2, 3))
    assert clean.sum() == 2
    dark = images.float().mean(1)
    for image, visible in zip(dark[~clean], maps[~clean, 0], strict=True):
        left_is_covered = visible[:, 0].mean() < 0.5
        assert visible[:, 3].mean() == pytest.approx(0.5), "half of the middle column is covered"
        assert (image[:, :56].mean() < image[:, 56:].mean()) == left_is_covered, "a mirrored face has a mirrored mask"


def test_without_masks_occluders_are_drawn(config: Callable[..., Config], image_folder: Path, tmp_path: Path) -> None:
    made = augmented(config(image_folder, batch_size=4, num_workers=0, visibility_batch_size=5), mask_prob=0.0)
    occluded = batches(made, prepared(made, tmp_path / "data"))[0].occluded
    assert occluded is not None
    assert ((occluded.visibility < 1).any((1, 2, 3))).sum() == 4


def test_the_batch_follows_the_source_unless_it_is_said(
    config: Callable[..., Config], with_masks: Path, image_folder: Path, tmp_path: Path
) -> None:
    made = config(with_masks, batch_size=4, num_workers=0)
    dataset = prepared(made, tmp_path / "data")
    occluded = batches(made, dataset)[0].occluded
    assert occluded is not None
    assert len(occluded.images) == 1, "a quarter of 4"
    assert (
        batches(config(with_masks, batch_size=4, num_workers=0, visibility_batch_size=0), dataset)[0].occluded is None
    )
    plain = config(num_workers=0, synthetic_identities=8, synthetic_images_per_identity=2, synthetic_pairs=20)
    assert batches(plain, prepared(plain, tmp_path / "drawn"))[0].occluded is None


def test_workers_share_out_both_batches(config: Callable[..., Config], with_masks: Path, tmp_path: Path) -> None:
    made = config(with_masks, batch_size=4, num_workers=0, visibility_batch_size=5)
    dataset = prepared(made, tmp_path / "data")
    whole = batches(made, dataset)[0]
    parts = [batches(made, dataset, rank=rank, world_size=2)[0] for rank in range(2)]
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert whole.occluded is not None
    joined = [torch.cat([part.occluded[which] for part in parts if part.occluded]) for which in (0, 1)]
    assert torch.equal(joined[0], whole.occluded.images)
    assert torch.equal(joined[1], whole.occluded.visibility)


def test_a_resumed_run_goes_on_with_the_visibility_batch_that_comes_next(
    config: Callable[..., Config], with_masks: Path, tmp_path: Path
) -> None:
    made = config(with_masks, batch_size=4, num_workers=0, visibility_batch_size=6)
    dataset = prepared(made, tmp_path / "data")
    first = FaceDataModule(made, dataset)
    planned = []
    for epoch in range(2):
        first.load_state_dict({"epoch": epoch, "batch": 0})
        planned += list(first.train_dataloader())
    resumed = FaceDataModule(made, dataset)
    resumed.load_state_dict({"epoch": 1, "batch": 1})
    rest = list(resumed.train_dataloader())
    assert len(rest) == len(planned) // 2 - 1
    for one, other in zip(rest, planned[-len(rest) :], strict=True):
        assert one.occluded is not None
        assert other.occluded is not None
        assert torch.equal(one.samples, other.samples)
        assert torch.equal(one.occluded.images, other.occluded.images)


def test_decoding_processes_stay_from_epoch_to_epoch(
    config: Callable[..., Config], image_folder: Path, tmp_path: Path
) -> None:
    made = config(image_folder, batch_size=4, num_workers=1, prefetch_factor=1)
    module = FaceDataModule(made, prepared(made, tmp_path / "data"))
    pids = []
    for epoch in range(2):
        module.load_state_dict({"epoch": epoch, "batch": 0})
        assert len(list(module.train_dataloader())) == module.batches_per_epoch
        iterator: Any = module.train_dataloader()._iterator
        pids.append([worker.pid for worker in iterator._workers])
    assert pids[0] == pids[1]


def test_a_graph_wants_a_model(config: Callable[..., Config], image_folder: Path, tmp_path: Path) -> None:
    made = config(image_folder, batch_size=4, num_workers=0, sampler="graph")
    dataset = prepared(made, tmp_path / "data")
    with pytest.raises(ConfigError, match="wants a model"):
        FaceDataModule(made, dataset)
    nearest = np.array([[2], [0], [1]])
    module = FaceDataModule(made, dataset, nearest=lambda classes, count: nearest[classes, :count])
    shown = [(int(batch.labels[0]), int(batch.labels[2])) for batch in module.train_dataloader()]
    assert [nearest[anchor, 0] for anchor, _ in shown] == [neighbour for _, neighbour in shown]
    assert module.state_dict()["neighbours"].tolist() == [[neighbour] for _, neighbour in shown]
