"""A published checkpoint or ONNX file → what its embeddings can do, without any training."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from oaml_core.config import Config
from oaml_core.errors import CheckpointError, ConfigError, DataError
from oaml_core.kept_memory import keep_freed_memory
from oaml_core.settings import digest
from oaml_core.stages.addresses import announce, fetch_dataset
from oaml_core.stages.costs import costing
from oaml_core.stages.evaluate_shards import MergedScores, SharedScoring
from oaml_core.stages.evaluate_stage import provenance
from oaml_core.stages.evaluation_inputs import METRICS, REPORT, best_device
from oaml_core.store import open_store
from oaml_core.store.local_file import sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from oaml_core.data.prepared.verification import VerificationSet
    from oaml_core.data.sources.base import SourceFolder
    from oaml_core.evaluation.scoring.score_parts import ScoredSet
    from oaml_core.models.embedder import Embedder

Pixels = Literal["auto", "signed", "unit", "bytes"]


@dataclass(frozen=True)
class EvaluatedBackbone:
    """The result of `evaluate_backbone`."""

    metrics: dict[str, float]
    """Headline figures of the global score."""
    absent: str
    """Which scores are absent, and why."""
    summary: str
    """A page of Markdown."""
    report: Path
    """`report.html`; `metrics.json` and `scores.npz` lie beside it."""


@dataclass(frozen=True)
class _OpenedBackbone:
    """A file that was opened, and the pairs that it is measured on."""

    config: Config
    path: Path
    sha256: str
    embed: Embedder
    image_size: int
    data: str
    """Digest that tells the data apart."""
    sets: Mapping[str, VerificationSet]
    key: str
    """Digest of all that the scores depend on."""

    @property
    def place(self) -> str:
        """Place of the results below `work_dir`."""
        return f"backbones/{self.path.stem}-{self.key}"

    def shared_out(self, shards: int) -> SharedScoring:
        """Share the scoring out over so many shards, whose scores the store keeps."""
        from oaml_core.evaluation.scoring.shard import EvaluationShard
        from oaml_core.evaluation.scoring.shard_parts import ShardParts
        from oaml_core.evaluation.verdict.evaluate import conditions_for
        from oaml_core.evaluation.verdict.evaluate_global import check_sizes, score_embeddings

        EvaluationShard(0, shards)
        check_sizes(self.sets, self.image_size, self.path.name)
        versions = {f"{name}'s version": version(name) for name in ("oaml", "torch", "numpy", "onnxruntime")}
        inputs = {"backbone": self.sha256, "data set": self.data, "settings": self.key}
        parts = ShardParts(
            open_store(self.config.store), f"backbone-{self.key}", shards, inputs | versions, "oaml evaluate"
        )
        conditions = conditions_for(self.config)

        def score(pairs: VerificationSet, rows: slice) -> ScoredSet:
            return score_embeddings(self.embed, pairs, conditions, rows)

        return SharedScoring(self.sets, [each.name for each in conditions], parts, score)


def evaluate_backbone(
    config: Config,
    dataset_uri: str | None,
    path: str | Path,
    *,
    pixels: Pixels = "auto",
    shards: int | None = None,
    only_merge: bool = False,
) -> EvaluatedBackbone:
    """Measure the embeddings of a file that OAML has not trained, on every verification set, clean and occluded.

    Args:
        config: `model.arch`, `model.width` and `model.weights_channel_order` say what a checkpoint is of; an ONNX file
            needs the channel order alone. `evaluate` says under which conditions, `work_dir` where results go.
        dataset_uri: data set in the store; None: that of `data`, prepared once the file was opened. A source of
            verification sets alone is read as it is.
        path: `.pth`, `.pt`, `.ckpt`, `.safetensors` or `.onnx`.
        pixels: what an ONNX graph takes: [-1, 1], [0, 1], 0 to 255, or what its input and its first layers tell.
        shards: number of shards that the pairs are scored in, see `evaluate_backbone_shard`; those that are missing are
            made here, one after another. The results are the same. None: all at once.
        only_merge: make no shard here.

    Raises:
        CheckpointError: the file is missing, or is not of `model.arch`. ExportError: it is no ONNX recogniser.
        ConfigError: it takes faces of another size than `data.image_size`, or the number of shards is below 1.
            EvaluationError: there is nothing to measure on, or shards are missing or of something else.
    """
    opened = _open(config, dataset_uri, Path(path), pixels)
    shared = None if shards is None else opened.shared_out(shards)
    with costing(config, "evaluate-backbone", opened.place, gpus=int(best_device() == "cuda")):
        merged = None if shared is None else shared.merged(only_merge=only_merge)
        found = _measured(opened, merged)
    if shared is not None:
        shared.parts.remove()
    return found


def evaluate_backbone_shard(
    config: Config, dataset_uri: str | None, path: str | Path, shard: str, *, pixels: Pixels = "auto"
) -> bool:
    """Score the pairs of one shard of every set, unless that was done before.

    Args:
        config, dataset_uri, path, pixels: as of `evaluate_backbone`; the scores go into `store`.
        shard: number and count, `0/3` to `2/3`.

    Returns:
        True if pairs were scored now.

    Raises:
        ConfigError: it is no shard. For others see `evaluate_backbone`.
    """
    from oaml_core.evaluation.scoring.shard import EvaluationShard

    chosen = EvaluationShard.parse(shard)
    opened = _open(config, dataset_uri, Path(path), pixels)
    with costing(config, "evaluate-shard", opened.place, gpus=int(best_device() == "cuda")):
        shared = opened.shared_out(chosen.of)
        made = shared.score(chosen)
    announce("evaluate-shard", f"shard {shard}", shared.parts.store.url(shared.parts.prefix), not made)
    return made


def _open(config: Config, dataset_uri: str | None, path: Path, pixels: Pixels) -> _OpenedBackbone:
    """Open the file, then the data; raises as `evaluate_backbone` does."""
    from oaml_core.evaluation.scoring.conditions import cutouts_digest
    from oaml_core.evaluation.verdict.evaluate import cutout_folder
    from oaml_core.models.build import IMAGE_SIZES
    from oaml_core.models.embedder import open_embedder

    keep_freed_memory()
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "is not there"
        raise CheckpointError(f"--backbone: {path} {found}. Give a file of weights, or an ONNX file.")
    embed, image_size = open_embedder(
        path,
        config.model.arch,
        image_size=config.data.image_size,
        width=config.model.width,
        channels=config.model.weights_channel_order,
        pixels=pixels,
        device=best_device(),
    )
    if image_size not in IMAGE_SIZES:
        sizes = " or ".join(map(str, IMAGE_SIZES))
        raise ConfigError(
            f"{path.name} takes faces of {image_size} pixels; data sets hold faces of {sizes}. "
            "Export it for one of these sizes: resized faces would not give its published figures."
        )
    if dataset_uri is None and image_size != config.data.image_size:
        raise ConfigError(
            f"{path.name} takes faces of {image_size} pixels, and data.image_size is {config.data.image_size}. Give "
            f"--data.image_size {image_size}."
        )
    data, sets = _data_of(config, dataset_uri)
    sha256 = sha256_of(path)
    cutouts = cutouts_digest(config.evaluate.occluders, cutout_folder(config))
    key = digest(config.evaluate, config.model, data, sha256, pixels, *([cutouts] if cutouts else []))
    return _OpenedBackbone(config, path, sha256, embed, image_size, data, sets, key)


def _data_of(config: Config, dataset_uri: str | None) -> tuple[str, Mapping[str, VerificationSet]]:
    """Return what tells the data apart, and its verification sets."""
    from oaml_core.data.sources.inputs import open_source
    from oaml_core.data.sources.verification import find_verification
    from oaml_core.evaluation.scoring.identities import content_of
    from oaml_core.stages.own_faces_inputs import open_sets
    from oaml_core.stages.prepare_stage import prepare

    work, source = Path(config.work_dir), config.data.source or config.data.verification_source
    if dataset_uri is None and source is not None and not config.data.align:
        folder = open_source(source, config.data, work / "fetched")
        files = find_verification(folder)
        if files and not _has_training(folder, work):
            listed = digest(*(folder.sha256(file) for file in files.values()), config.data)
            sets = dict(open_sets(folder, files, config, work / "sets" / listed))
            # Lists name images, whose content may be another one tomorrow.
            return digest(listed, *map(content_of, sets.values())), sets
    dataset = fetch_dataset(config, dataset_uri or prepare(config).dataset_uri)
    return dataset.manifest.fingerprint, dataset.verification


def _has_training(folder: SourceFolder, work: Path) -> bool:
    from oaml_core.data.sources.inputs import open_training

    try:
        open_training(folder, work / "indices")
    except DataError:
        return False
    return True


def _measured(opened: _OpenedBackbone, merged: MergedScores | None) -> EvaluatedBackbone:
    from oaml_core.evaluation.report.report import write_report
    from oaml_core.evaluation.scoring.stored import SCORES_FILE, write_scores
    from oaml_core.evaluation.verdict.evaluate_global import evaluate_embeddings
    from oaml_core.evaluation.verdict.metrics_json import headline, metrics, write_json
    from oaml_core.evaluation.verdict.summary import markdown

    config, path, folder = opened.config, opened.path, Path(opened.config.work_dir) / opened.place
    evaluation = evaluate_embeddings(
        opened.embed,
        opened.image_size,
        opened.sets,
        config,
        path.name,
        scored=None if merged is None else merged.sets,
    )
    folder.mkdir(parents=True, exist_ok=True)
    context: dict[str, Any] = {
        "backbone": path.name,
        "backbone_sha256": opened.sha256,
        "absent": evaluation.absent,
        "dataset_fingerprint": opened.data,
        "seconds": evaluation.seconds,
        **provenance(config),
    }
    if merged is not None:
        context["device"] = merged.devices
    write_scores(evaluation, folder / SCORES_FILE)
    write_report(evaluation, folder / REPORT, context, title=path.name)
    found = metrics(evaluation, context)
    write_json(found, folder / METRICS)
    return EvaluatedBackbone(headline(evaluation), evaluation.absent, markdown(found), folder / REPORT)
