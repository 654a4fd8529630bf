"""A checkpoint → what it can do: `metrics.json` and the report."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from oaml_core.config import Config
from oaml_core.settings import config_to_yaml, digest
from oaml_core.stages.addresses import announce, fetch_dataset, fetch_file, prefix_of
from oaml_core.store import open_store


@dataclass(frozen=True)
class Evaluated:
    """What `evaluate` gives."""

    metrics_uri: str
    report_uri: str
    metrics: dict[str, float]
    """At most eight, with names that do not change."""
    roc: dict[str, list[float]]
    """`fpr`, `tpr`, `threshold` of the combined score on clean pairs; finite, at most 200 points."""
    report: Path
    """The report as a local file."""


def evaluate(config: Config, dataset_uri: str, checkpoint_uri: str) -> Evaluated:
    """Measure the model at `checkpoint_uri` on every verification set, clean and occluded.

    Raises:
        EvaluationError: no protocol can be computed. CheckpointError: the model cannot be read.
    """
    import torch

    from oaml_core.evaluation.evaluate import evaluate_model
    from oaml_core.evaluation.report import write_report
    from oaml_core.evaluation.results import metrics, roc_points, write_metrics
    from oaml_core.training.trained import load_trained

    dataset = fetch_dataset(config, dataset_uri)
    checkpoint = fetch_file(config, checkpoint_uri)
    trained = load_trained(checkpoint)
    config = replace(config, model=trained.config.model, data=trained.config.data)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    evaluation = evaluate_model(trained.recogniser.to(device), dataset.verification, config, device)
    context = _context(config, dataset.manifest.fingerprint, checkpoint_uri, trained.step)
    folder = checkpoint.parent / f"evaluation-{digest(config.evaluate, dataset_uri)}"
    folder.mkdir(parents=True, exist_ok=True)
    report, measured = folder / "report.html", folder / "metrics.json"
    write_report(evaluation, report, context, title=config.name)
    write_metrics(evaluation, measured, context)
    store, prefix = open_store(config.store), f"{prefix_of(config, checkpoint_uri)}/{folder.name}"
    store.put_file(report, f"{prefix}/{report.name}")
    store.put_file(measured, f"{prefix}/{measured.name}")
    clean = next(iter(evaluation.sets.values())).conditions["clean"].scores["combined"]
    announce("evaluate", "report.html and metrics.json", store.url(prefix), False)
    return Evaluated(
        store.url(f"{prefix}/{measured.name}"),
        store.url(f"{prefix}/{report.name}"),
        metrics(evaluation)["headline"],
        roc_points(clean.roc),
        report,
    )


def _context(config: Config, fingerprint: str, checkpoint_uri: str, step: int) -> Mapping[str, Any]:
    import yaml

    packages = ("torch", "torchvision", "lightning", "numpy", "onnxruntime")
    return {
        "dataset_fingerprint": fingerprint,
        "checkpoint": checkpoint_uri,
        "step": step,
        "config": yaml.safe_load(config_to_yaml(config)),
        "versions": {"python": platform.python_version(), "oaml": version("oaml")}
        | {package: version(package) for package in packages},
    }
