"""A published checkpoint or ONNX file → what its embeddings can do, without any training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from oaml_core.config import Config
from oaml_core.errors import CheckpointError
from oaml_core.kept_memory import keep_freed_memory
from oaml_core.settings import digest
from oaml_core.stages.addresses import fetch_dataset
from oaml_core.stages.costs import costing
from oaml_core.stages.evaluate_stage import METRICS, REPORT, best_device, provenance
from oaml_core.store.local_file import sha256_of

Pixels = Literal["auto", "signed", "bytes"]


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
    config: Config, dataset_uri: str, path: str | Path, *, pixels: Pixels = "auto"
) -> EvaluatedBackbone:
    """Measure the embeddings of a file that OAML has not trained, on every verification set, clean and occluded.

    Args:
        config: `model.arch`, `model.width` and `model.weights_channel_order` say what a checkpoint is of; an ONNX file
            needs the channel order alone. `evaluate` says under which conditions, `work_dir` where results go.
        dataset_uri: data set in the store.
        path: `.pth`, `.pt`, `.ckpt`, `.safetensors` or `.onnx`.
        pixels: what an ONNX graph takes: [-1, 1], 0 to 255, or what its first layers tell.

    Raises:
        CheckpointError: the file is missing, or is not of `model.arch`. ExportError: it is no ONNX recogniser.
        EvaluationError: there is nothing to measure on.
    """
    keep_freed_memory()
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"--backbone: there is no file {path}.")
    key = digest(config.evaluate, config.model, dataset_uri, sha256_of(path), pixels)
    place = f"backbones/{path.stem}-{key}"
    with costing(config, "evaluate-backbone", place, gpus=int(best_device() == "cuda")):
        return _measured(config, dataset_uri, path, pixels, Path(config.work_dir) / place)


def _measured(config: Config, dataset_uri: str, path: Path, pixels: Pixels, folder: Path) -> EvaluatedBackbone:
    from oaml_core.evaluation.report.report import write_report
    from oaml_core.evaluation.scoring.stored import SCORES_FILE, write_scores
    from oaml_core.evaluation.verdict.evaluate_global import evaluate_embeddings
    from oaml_core.evaluation.verdict.metrics_json import headline, metrics, write_json
    from oaml_core.evaluation.verdict.summary import markdown
    from oaml_core.models.embedder import open_embedder

    embed, image_size = open_embedder(
        path,
        config.model.arch,
        image_size=config.data.image_size,
        width=config.model.width,
        channels=config.model.weights_channel_order,
        pixels=pixels,
        device=best_device(),
    )
    dataset = fetch_dataset(config, dataset_uri)
    evaluation = evaluate_embeddings(embed, image_size, dataset.verification, config, path.name)
    folder.mkdir(parents=True, exist_ok=True)
    context: dict[str, Any] = {
        "backbone": path.name,
        "backbone_sha256": sha256_of(path),
        "absent": evaluation.absent,
        "dataset_fingerprint": dataset.manifest.fingerprint,
        "seconds": evaluation.seconds,
        **provenance(config),
    }
    write_scores(evaluation, folder / SCORES_FILE)
    write_report(evaluation, folder / REPORT, context, title=path.name)
    found = metrics(evaluation, context)
    write_json(found, folder / METRICS)
    return EvaluatedBackbone(headline(evaluation), evaluation.absent, markdown(found), folder / REPORT)
