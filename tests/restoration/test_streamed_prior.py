"""A prior of faces whose parts come while it trains: the weights of one whose faces were copied first."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from oaml_core.config import Config, DataConfig, RestorationConfig, TrackingConfig
from oaml_core.data.batches.plan import SampleKey
from oaml_core.data.prepare import packer
from oaml_core.data.prepare.parts import PartWriter
from oaml_core.data.prepare.prepare import prepare_dataset
from oaml_core.data.prepared.fetched_files import is_part
from oaml_core.data.prepared.prepared import PreparedDataset, fetch_prepared
from oaml_core.restoration.face_tiles import FaceTiles
from oaml_core.restoration.prior_training import PriorLoop
from oaml_core.restoration.training_tiles import TrainingTiles
from oaml_core.store import open_store
from oaml_core.store.traffic import metered
from oaml_core.training.keeper import CheckpointKeeper
from oaml_core.training.world import World
from tests.data_layer.streamed_set import here, until

TINY = RestorationConfig(
    tile_size=16,
    model_channels=4,
    channel_mult=(1,),
    num_blocks=1,
    attention_levels=(),
    dropout=0.0,
    batch=6,
    total_kimg=0.048,
    kimg_per_tick=0.012,
    validation_tiles=0,
    lr_rampup_kimg=0.0,
)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("faces")
    return Config(
        store=str(folder / "store"),
        work_dir=str(folder / "work"),
        data=DataConfig(synthetic_identities=8, synthetic_images_per_identity=3, synthetic_pairs=20, num_workers=0),
        tracking=TrackingConfig(wandb="off"),
        restoration=TINY,
    )


@pytest.fixture(scope="module")
def uri(config: Config) -> str:
    with pytest.MonkeyPatch.context() as patch:
        small = partial(PartWriter, min_bytes=5_000, target_bytes=8_000, max_bytes=12_000)
        patch.setattr(packer, "PartWriter", small)
        return prepare_dataset(config, open_store(config.store)).uri


def trained(config: Config, dataset: PreparedDataset, folder: Path, world: World) -> PriorLoop:
    keeper = CheckpointKeeper(folder / "checkpoints", None, "", 3)
    loop = PriorLoop(config, FaceTiles(dataset.train), dataset.manifest.fingerprint, folder, keeper, world)
    loop.run()
    return loop


def test_a_streamed_prior_learns_what_a_copied_one_does(config: Config, uri: str, tmp_path: Path) -> None:
    copied = fetch_prepared(uri, tmp_path / "copied" / "set", "copy")
    streamed = fetch_prepared(uri, tmp_path / "node" / "set", "stream")
    parts = [file for file in streamed.manifest.files if is_part(file)]
    assert len(parts) >= 4
    assert not here(streamed)
    one = trained(config, copied, tmp_path / "one", World(0, 1, 0, 1))
    other = trained(config, streamed, tmp_path / "other", World(0, 1, 0, 1))
    ours, theirs = (each.average.state_dict() for each in (one, other))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(theirs[name])), name
    assert one.ahead is None
    assert other.ahead is not None
    assert other.ahead._filler is None, "the process ends with the training"


def test_parts_come_in_the_order_of_the_plan(config: Config, uri: str, tmp_path: Path) -> None:
    streamed = fetch_prepared(uri, tmp_path / "node" / "set", "stream")
    keeper = CheckpointKeeper(tmp_path / "run" / "checkpoints", None, "", 3)
    long = replace(config, restoration=replace(TINY, total_kimg=1_000.0))
    loop = PriorLoop(long, FaceTiles(streamed.train), "f", tmp_path / "run", keeper, World(0, 1, 0, 1))
    assert loop.ahead is not None
    plan = loop.batches.epoch_plan().ravel()
    first = list(dict.fromkeys(streamed.train.parts_of(plan).tolist()))
    assert loop.ahead.wanted()["order"] == first
    try:
        loop.ahead.tell()
        until(lambda: here(streamed) == set(first))
    finally:
        loop.ahead.close()


def test_a_worker_that_another_one_works_for_brings_nothing(config: Config, uri: str, tmp_path: Path) -> None:
    streamed = fetch_prepared(uri, tmp_path / "node" / "set", "stream")
    assert World(1, 2, 1, 2).node is None
    assert World(2, 4, 0, 2).node == range(2, 4)
    tiles = TrainingTiles(FaceTiles(streamed.train), 16, xflip=False)
    images = list(range(0, len(tiles), 2))
    wanted = set(streamed.train.parts_of(np.array(images)).tolist())
    with metered() as traffic:
        items = tiles.__getitems__([SampleKey(image, 1) for image in images])
        assert traffic().requests == len(wanted), "a batch asks once per part"
    assert len(items) == len(images)
