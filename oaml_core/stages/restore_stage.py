"""Clean tiles → a prior → how well it restores; beside the stages of recognition, over the same store."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from oaml_core.amounts import amount
from oaml_core.config import Config
from oaml_core.errors import ConfigError, DataError
from oaml_core.kept_memory import keep_freed_memory
from oaml_core.settings import digest
from oaml_core.stages.addresses import announce, fetch_dataset, fetch_file
from oaml_core.stages.costs import costing
from oaml_core.stages.publish_run import checked_result, publish_run
from oaml_core.store import open_store, split_uri

if TYPE_CHECKING:
    from torch import Tensor

    from oaml_core.restoration.recognition import Embed

TILES = "tiles"
"""Prefix of tile shards in a store, and their folder below `work_dir`."""


@dataclass(frozen=True)
class PriorTrained:
    """The result of `train_prior`."""

    checkpoint_uri: str
    run_uri: str
    metrics: dict[str, float]
    """Figures of the last tick."""


def prepare_tiles(config: Config) -> str:
    """Check the tiles that `restoration.tiles` names and put them into the store as shards; their address there.

    Without `restoration.tiles` the faces of `data` are prepared, as for recognition.

    Raises:
        DataError: the tiles or faces are not fit to train on.
    """
    from oaml_core.restoration.tile_shards import MANIFEST, tiles_fingerprint, write_shards
    from oaml_core.stages.prepare_stage import prepare

    restoration = config.restoration
    if restoration.tiles is None:
        return prepare(config).dataset_uri
    folder, store = Path(restoration.tiles), open_store(config.store)
    metadata = None if restoration.metadata is None else Path(restoration.metadata)
    fingerprint = tiles_fingerprint(folder, restoration.domain, metadata)
    shards, prefix = _shard_folder(config, fingerprint), f"{TILES}/{fingerprint}"
    reused = store.exists(f"{prefix}/{MANIFEST}")
    if not reused:
        write_shards(folder, shards, tile_size=restoration.tile_size, domain=restoration.domain, metadata=metadata)
        store.put_tree(shards, prefix, last=MANIFEST)
    announce("prepare", "tiles", store.url(prefix), reused)
    return store.url(prefix)


def train_prior(config: Config, dataset_uri: str, *, launcher: str = "local") -> PriorTrained:
    """Train a prior on what `prepare_tiles` gave, or go on where an earlier try of the same run stopped.

    Args:
        launcher: `local` starts `torchrun` on this machine; `none` trains in this process.

    Raises:
        OamlError: the workers failed for good; the message names the log and the checkpoints.
    """
    from oaml_core.training.launcher import RESULT, gpus_used, launch

    store, prefix = open_store(config.store), prior_prefix(config, dataset_uri)
    reused = store.exists(f"{prefix}/{RESULT}")
    if not reused:
        run_dir = Path(config.work_dir) / prefix
        with costing(config, "train-prior", prefix, gpus=gpus_used(config)) as attempt:
            launch(
                config,
                fetch_tiles(config, dataset_uri),
                run_dir,
                prefix,
                in_process=launcher == "none",
                worker="oaml_core.restoration.worker",
            )
            publish_run(store, prefix, run_dir, attempt.cost_of_run())
    result = checked_result(store, prefix)
    result.pop("cost", None)
    checkpoint = store.url(f"{prefix}/best.ckpt")
    announce("restore train", f"{result.get('kimg', 0):.1f} thousand tiles seen", checkpoint, reused)
    return PriorTrained(checkpoint, store.url(prefix), result)


@dataclass(frozen=True)
class RestorationEvaluated:
    """The result of `evaluate_prior`."""

    metrics_uri: str
    report_uri: str
    metrics: dict[str, float]
    """PSNR in dB of the restored tiles, by exposure, and χ² and coverage in the dark."""
    report: Path
    """The report as a local file."""


def evaluate_prior(
    config: Config, dataset_uri: str, checkpoint_uri: str, recogniser_uri: str | None = None
) -> RestorationEvaluated:
    """Restore tiles that the prior at `checkpoint_uri` did not learn from; where a recogniser is given, measure what
    that does to recognition.

    Raises:
        DataError: there is no tile to test on. CheckpointError: a model cannot be read. ConfigError: the recogniser
            takes faces of another size.
    """
    import torch

    keep_freed_memory()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with costing(config, "evaluate-prior", prior_prefix(config, dataset_uri), gpus=int(device == "cuda")):
        return _evaluate_prior(config, dataset_uri, checkpoint_uri, recogniser_uri, device)


def _evaluate_prior(
    config: Config, dataset_uri: str, checkpoint_uri: str, recogniser_uri: str | None, device: str
) -> RestorationEvaluated:
    import torch

    from oaml_core.restoration.evaluate import evaluate_tiles
    from oaml_core.restoration.prior import load_prior
    from oaml_core.restoration.recognition import recognition_effect
    from oaml_core.restoration.report import write_restoration_report
    from oaml_core.restoration.validation import centre

    checkpoint = fetch_file(config, checkpoint_uri)
    trained = load_prior(checkpoint, device)
    tiles = held_out_tiles(config, dataset_uri)
    if trained.side is not None:
        tiles = torch.stack([centre(tile, trained.side) for tile in tiles])
    found = evaluate_tiles(trained.prior, tiles, config.restoration, seed=config.seed, device=device)
    if recogniser_uri is not None:
        embed = _embedding_by(config, fetch_file(config, recogniser_uri), device)
        pairs = next(iter(fetch_dataset(config, dataset_uri).verification.values()))
        found.recognition = recognition_effect(
            embed, trained.prior, pairs, config.restoration, seed=config.seed, device=device
        )
    folder = checkpoint.parent / f"restoration-{digest(config.restoration, dataset_uri, recogniser_uri)}"
    folder.mkdir(parents=True, exist_ok=True)
    report, measured = folder / "restoration.html", folder / "restoration.json"
    context = {
        "prior": checkpoint_uri,
        "tiles": dataset_uri,
        "trained on": f"{amount(trained.images_seen, 'tile')} of {trained.fingerprint}",
        "restoration": asdict(config.restoration),
    }
    write_restoration_report(found, report, measured, context, f"{config.name}: restoration")
    store, prefix = open_store(config.store), f"{prior_prefix(config, dataset_uri)}/{folder.name}"
    for path in (report, measured):
        store.put_file(path, f"{prefix}/{path.name}")
    announce("restore evaluate", "restoration.html and restoration.json", store.url(prefix), False)
    return RestorationEvaluated(
        store.url(f"{prefix}/{measured.name}"), store.url(f"{prefix}/{report.name}"), found.headline(), report
    )


def _embedding_by(config: Config, path: Path, device: str) -> Embed:
    """Return what describes faces: a checkpoint of OAML, or a published recogniser as an ONNX file."""
    from oaml_core.models.embedder import open_embedder
    from oaml_core.restoration.recognition import embedding_of
    from oaml_core.training.trained import load_trained

    if path.suffix.lower() == ".onnx":
        channels = config.model.weights_channel_order
        embed, side = open_embedder(path, config.model.arch, channels=channels, device=device)
        if side != config.data.image_size:
            raise ConfigError(
                f"{path.name} takes faces of {side} pixels, and data.image_size is {config.data.image_size}. Give "
                f"--data.image_size {side}."
            )
        return embed
    return embedding_of(load_trained(path).recogniser.to(device), device)


def held_out_tiles(config: Config, dataset_uri: str) -> Tensor:
    """Clean tiles of other people than the prior learnt from, or of split `test`."""
    import numpy as np
    import torch

    from oaml_core.restoration.face_tiles import to_tile
    from oaml_core.restoration.tile_shards import TileShards
    from oaml_core.restoration.validation import spread

    count = config.restoration.test_tiles
    if f"/{TILES}/" in dataset_uri:
        tiles = TileShards(fetch_tiles(config, dataset_uri), "test")
        return torch.stack([tiles.read(i) for i in spread(len(tiles), count)])
    images = next((pairs.images for pairs in fetch_dataset(config, dataset_uri).verification.values()), None)
    if images is None:
        raise DataError("The data set has no verification set, and so no faces to test a prior on.")
    chosen = np.ascontiguousarray(images[spread(len(images), count)])
    return to_tile(torch.from_numpy(chosen).permute(0, 3, 1, 2))


def fetch_tiles(config: Config, dataset_uri: str) -> Path:
    """Return the folder of shards, or of prepared faces, in the local cache."""
    fingerprint = dataset_uri.rstrip("/").rpartition("/")[2]
    if f"/{TILES}/" not in dataset_uri:
        return fetch_dataset(config, dataset_uri).directory
    from oaml_core.restoration.tile_shards import MANIFEST

    store, prefix = split_uri(dataset_uri)
    folder = _shard_folder(config, fingerprint)
    store.get_tree(prefix, folder, last=MANIFEST)
    return folder


def prior_prefix(config: Config, dataset_uri: str) -> str:
    """Return the run's place in the store and below `work_dir`: the same for all tries of the same training."""
    from oaml_core.restoration.prior_training import MAY_DIFFER

    settings = asdict(config.restoration)
    if config.restoration.method == "gaussian":
        learnt = {name: settings[name] for name in ("method", "tile_size", "xflip")}
    else:
        learnt = {k: v for k, v in settings.items() if f"restoration.{k}" not in MAY_DIFFER}
        learnt["total_kimg"] = config.restoration.total_kimg
    return f"priors/{config.name}-{digest(config.seed, learnt, dataset_uri.rpartition('/')[2])}"


def _shard_folder(config: Config, fingerprint: str) -> Path:
    return Path(config.work_dir) / TILES / fingerprint
