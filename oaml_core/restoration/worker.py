"""One worker that trains a prior, which `oaml_core.training.worker_entry` runs."""

from __future__ import annotations

from pathlib import Path

from oaml_core.config import Config
from oaml_core.data.prepared.prepared import open_prepared
from oaml_core.restoration.face_tiles import FaceTiles
from oaml_core.restoration.gaussian_training import train_gaussian
from oaml_core.restoration.prior_training import PriorLoop
from oaml_core.restoration.tile_shards import TileShards, read_shard_manifest
from oaml_core.restoration.tiles import Tiles
from oaml_core.restoration.validation import ValidationTiles, validation_faces, validation_shards
from oaml_core.training.worker import begin, write_result

VALIDATION = "validation"
"""Split of tiles that a prior is measured on while it trains."""


def train_as_worker(config: Config, dataset: Path, run_dir: Path, store_prefix: str) -> None:
    """Train a prior in this process, as the worker that the environment says it is.

    Args:
        config: the whole configuration.
        dataset: folder of tile shards, or of a prepared set of faces where `restoration.tiles` is not given.
        run_dir: folder of the run.
        store_prefix: the run's prefix in the artifact store.
    """
    world, keeper = begin(config, run_dir, store_prefix)
    tiles, fingerprint = open_training_tiles(config, dataset)
    if config.restoration.method == "gaussian":
        if world.is_main:
            write_result(run_dir, train_gaussian(config, tiles, fingerprint, run_dir, keeper), keeper.best)
        return
    validation = open_validation_tiles(config, dataset, tiles.domains) if world.is_main else None
    metrics = PriorLoop(config, tiles, fingerprint, run_dir, keeper, world, validation).run()
    if world.is_main:
        write_result(run_dir, metrics, keeper.best)


def open_training_tiles(config: Config, dataset: Path) -> tuple[Tiles, str]:
    """Return the tiles that a prior learns from, and their fingerprint."""
    if config.restoration.tiles is None:
        prepared = open_prepared(dataset)
        return FaceTiles(prepared.train), prepared.manifest.fingerprint
    manifest = read_shard_manifest(dataset)
    return TileShards(dataset, "train", config.restoration.use_labels), manifest["fingerprint"]


def open_validation_tiles(config: Config, dataset: Path, domains: tuple[str, ...]) -> ValidationTiles | None:
    """Return clean tiles that training does not learn from; None if there are none, or none are wanted.

    Args:
        config: `restoration.validation_tiles` says how many.
        dataset: as for `open_training_tiles`.
        domains: labels of the prior.
    """
    size, count = config.restoration.tile_size, config.restoration.validation_tiles
    if count == 0:
        return None
    if config.restoration.tiles is None:
        return validation_faces(open_prepared(dataset), size, count, config.restoration.test_tiles)
    if VALIDATION not in read_shard_manifest(dataset)["splits"]:
        return None
    return validation_shards(TileShards(dataset, VALIDATION), domains, size, count)
