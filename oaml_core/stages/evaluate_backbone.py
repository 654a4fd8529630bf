"""A published checkpoint or ONNX file → what its embeddings can do, without any training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from oaml_core.config import Config
from oaml_core.errors import CheckpointError, ConfigError, DataError
from oaml_core.kept_memory import keep_freed_memory
from oaml_core.settings import digest
from oaml_core.stages.addresses import fetch_dataset
from oaml_core.stages.costs import costing
from oaml_core.stages.evaluate_stage import provenance
from oaml_core.stages.evaluation_inputs import METRICS, REPORT, best_device
from oaml_core.store.local_file import sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from oaml_core.data.prepared.verification import VerificationSet
    from oaml_core.data.sources.base import SourceFolder
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


def evaluate_backbone(
    config: Config, dataset_uri: str | None, path: str | Path, *, pixels: Pixels = "auto"
) -> EvaluatedBackbone:
    """Measure the embeddings of a file that OAML has not trained, on every verification set, clean and occluded.

    Args:
        config: `model.arch`, `model.width` and `model.weights_channel_order` say what a checkpoint is of; an ONNX file
            needs the channel order alone. `evaluate` says under which conditions, `work_dir` where results go.
        dataset_uri: data set in the store; None: that of `data`, prepared once the file was opened. A source of
            verification sets alone is read as it is.
        path: `.pth`, `.pt`, `.ckpt`, `.safetensors` or `.onnx`.
        pixels: what an ONNX graph takes: [-1, 1], [0, 1], 0 to 255, or what its input and its first layers tell.

    Raises:
        CheckpointError: the file is missing, or is not of `model.arch`. ExportError: it is no ONNX recogniser.
        ConfigError: it takes faces of another size than `data.image_size`. EvaluationError: there is nothing to
            measure on.
    """
    from oaml_core.models.build import IMAGE_SIZES
    from oaml_core.models.embedder import open_embedder

    keep_freed_memory()
    path = Path(path)
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "is not there"
        raise CheckpointError(f"--backbone: {path} {found}. Give a file of weights, or an ONNX file.")
    opened = open_embedder(
        path,
        config.model.arch,
        image_size=config.data.image_size,
        width=config.model.width,
        channels=config.model.weights_channel_order,
        pixels=pixels,
        device=best_device(),
    )
    if opened[1] not in IMAGE_SIZES:
        sizes = " or ".join(map(str, IMAGE_SIZES))
        raise ConfigError(
            f"{path.name} takes faces of {opened[1]} pixels; data sets hold faces of {sizes}. "
            "Export it for one of these sizes: resized faces would not give its published figures."
        )
    if dataset_uri is None and opened[1] != config.data.image_size:
        raise ConfigError(
            f"{path.name} takes faces of {opened[1]} pixels, and data.image_size is {config.data.image_size}. Give "
            f"--data.image_size {opened[1]}."
        )
    data, sets = _data_of(config, dataset_uri)
    key = digest(config.evaluate, config.model, data, sha256_of(path), pixels)
    place = f"backbones/{path.stem}-{key}"
    with costing(config, "evaluate-backbone", place, gpus=int(best_device() == "cuda")):
        return _measured(config, data, sets, path, *opened, Path(config.work_dir) / place)


def _data_of(config: Config, dataset_uri: str | None) -> tuple[str, Mapping[str, VerificationSet]]:
    """Return what tells the data apart, and its verification sets."""
    from oaml_core.data.sources.inputs import open_source
    from oaml_core.data.sources.verification import find_verification
    from oaml_core.stages.own_faces import open_sets
    from oaml_core.stages.prepare_stage import prepare

    work, source = Path(config.work_dir), config.data.source or config.data.verification_source
    if dataset_uri is None and source is not None and not config.data.align:
        folder = open_source(source, config.data, work / "fetched")
        files = find_verification(folder)
        if files and not _has_training(folder, work):
            data = digest(*(folder.sha256(file) for file in files.values()), config.data)
            return data, dict(open_sets(folder, files, config, work / "sets" / data))
    dataset = fetch_dataset(config, dataset_uri or prepare(config).dataset_uri)
    return dataset.manifest.fingerprint, dataset.verification


def _has_training(folder: SourceFolder, work: Path) -> bool:
    from oaml_core.data.sources.inputs import open_training

    try:
        open_training(folder, work / "indices")
    except DataError:
        return False
    return True


def _measured(
    config: Config,
    data: str,
    sets: Mapping[str, VerificationSet],
    path: Path,
    embed: Embedder,
    image_size: int,
    folder: Path,
) -> EvaluatedBackbone:
    from oaml_core.evaluation.report.report import write_report
    from oaml_core.evaluation.scoring.stored import SCORES_FILE, write_scores
    from oaml_core.evaluation.verdict.evaluate_global import evaluate_embeddings
    from oaml_core.evaluation.verdict.metrics_json import headline, metrics, write_json
    from oaml_core.evaluation.verdict.summary import markdown

    evaluation = evaluate_embeddings(embed, image_size, sets, config, path.name)
    folder.mkdir(parents=True, exist_ok=True)
    context: dict[str, Any] = {
        "backbone": path.name,
        "backbone_sha256": sha256_of(path),
        "absent": evaluation.absent,
        "dataset_fingerprint": data,
        "seconds": evaluation.seconds,
        **provenance(config),
    }
    write_scores(evaluation, folder / SCORES_FILE)
    write_report(evaluation, folder / REPORT, context, title=path.name)
    found = metrics(evaluation, context)
    write_json(found, folder / METRICS)
    return EvaluatedBackbone(headline(evaluation), evaluation.absent, markdown(found), folder / REPORT)
