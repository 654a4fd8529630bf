"""A checkpoint → what it can do: `metrics.json`, every pair's scores, and the report."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.config import Config
from oaml_core.errors import EvaluationError, StoreError
from oaml_core.kept_memory import keep_freed_memory
from oaml_core.settings import config_to_yaml, digest
from oaml_core.stages.addresses import (
    announce,
    dated_name,
    fetch_dataset,
    fetch_file,
    fetch_scores,
    prefix_of,
    read_metrics_json,
)
from oaml_core.stages.costs import Attempt, costing
from oaml_core.stages.production import champion
from oaml_core.store import Store, open_store
from oaml_core.store.local_file import sha256_of

if TYPE_CHECKING:
    from oaml_core.evaluation.verdict.comparison import ModelComparison

log = logging.getLogger(__name__)

METRICS, REPORT = "metrics.json", "report.html"


@dataclass(frozen=True)
class Evaluated:
    """The result of `evaluate`."""

    metrics_uri: str
    report_uri: str
    metrics: dict[str, float]
    """Figures of the run: at most eight, with names that do not change."""
    roc: dict[str, list[float]]
    """`fpr`, `tpr`, `threshold` of the combined score on clean pairs; finite, at most 200 points."""
    report: Path
    """The report as a local file."""
    summary: str
    """The same in a page of Markdown."""
    reused: bool
    """The same model was evaluated on the same pairs before."""


def evaluate(config: Config, dataset_uri: str, checkpoint_uri: str) -> Evaluated:
    """Measure the model at `checkpoint_uri` on every verification set, clean and occluded, and against the champion.

    An evaluation that is in the store already, of the same checkpoint, pairs and `config.evaluate`, and compared with
    the model that is in production now, is given back as it is.

    Raises:
        EvaluationError: no protocol can be computed. CheckpointError: the model cannot be read.

    Example:
        >>> import oaml_core as oaml
        >>> config = oaml.load_config("smoke", ["--store", "shelf", "--data.synthetic_identities", "16"])
        >>> found = oaml.evaluate(config, oaml.prepare(config).dataset_uri, "best.ckpt")
        >>> found.metrics_uri.rpartition("/")[2]
        'metrics.json'
    """
    from oaml_core.evaluation.verdict.metrics_json import SCHEMA

    keep_freed_memory()
    checkpoint = fetch_file(config, checkpoint_uri)
    store = open_store(config.store)
    inputs = digest(config.evaluate, dataset_uri, sha256_of(checkpoint), SCHEMA)
    prefix = f"{prefix_of(config, checkpoint_uri)}/evaluation-{inputs}"
    folder = checkpoint.parent / f"evaluation-{inputs}"
    rival = champion(store)
    if rival is not None and rival["metrics_uri"] == store.url(f"{prefix}/{METRICS}"):
        rival = None
    reused = _is_current(store, f"{prefix}/{METRICS}", rival)
    if reused:
        store.get_file(f"{prefix}/{REPORT}", folder / REPORT)
    else:
        run = prefix_of(config, checkpoint_uri)
        with costing(config, "evaluate", run, gpus=int(best_device() == "cuda")) as attempt:
            _measure(config, dataset_uri, checkpoint_uri, checkpoint, folder, rival, attempt)
            # What the others are found by comes last.
            store.put_tree(folder, prefix, last=METRICS)
    announce("evaluate", "report.html and metrics.json", store.url(prefix), reused)
    return _given_back(store, prefix, folder / REPORT, reused)


def _is_current(store: Store, key: str, rival: Mapping[str, Any] | None) -> bool:
    """Return True if there are metrics that were compared with `rival`, or no rival to compare with."""
    if not store.exists(key):
        return False
    compared = read_metrics_json(store.url(key))["comparison"]
    return rival is None or (compared is not None and compared["champion"] == rival["version"])


def _given_back(store: Store, prefix: str, report: Path, reused: bool) -> Evaluated:
    from oaml_core.evaluation.verdict.summary import markdown

    metrics_uri = store.url(f"{prefix}/{METRICS}")
    found = read_metrics_json(metrics_uri)
    first = next(iter(found["sets"].values()))
    return Evaluated(
        metrics_uri,
        store.url(f"{prefix}/{REPORT}"),
        found["headline"],
        first["conditions"]["clean"]["scores"]["combined"]["roc"],
        report,
        markdown(found),
        reused,
    )


def _measure(
    config: Config,
    dataset_uri: str,
    checkpoint_uri: str,
    checkpoint: Path,
    folder: Path,
    rival: Mapping[str, Any] | None,
    attempt: Attempt,
) -> None:
    """Evaluate, and write report, scores and metrics into `folder`."""
    from oaml_core.evaluation.report.report import write_report
    from oaml_core.evaluation.scoring.stored import SCORES_FILE, write_scores
    from oaml_core.evaluation.scoring.stranger_faces import strangers_among
    from oaml_core.evaluation.verdict.evaluate import evaluate_model
    from oaml_core.evaluation.verdict.gate import decide
    from oaml_core.evaluation.verdict.metrics_json import write_metrics
    from oaml_core.training.trained import load_trained

    began = time.perf_counter()
    dataset = fetch_dataset(config, dataset_uri)
    trained = load_trained(checkpoint)
    config = replace(config, model=trained.config.model, data=trained.config.data)
    loaded = time.perf_counter()
    model, device = trained.recogniser.to(best_device()), best_device()
    chosen = config.evaluate
    strangers = strangers_among(model, dataset.train, chosen.strangers, device, chosen.batch_size)
    evaluation = evaluate_model(model, dataset.verification, config, device, strangers=strangers)
    folder.mkdir(parents=True, exist_ok=True)
    write_scores(evaluation, folder / SCORES_FILE)
    comparison = None if rival is None else _compared(config, rival, folder / SCORES_FILE)
    cost = attempt.cost_of_run()
    context = {
        "dataset_fingerprint": dataset.manifest.fingerprint,
        "checkpoint": checkpoint_uri,
        "step": trained.step,
        "seconds": {"loading": round(loaded - began, 3), **evaluation.seconds},
        **provenance(config),
    }
    gate = None if comparison is None else decide(comparison, config.promote)
    pictures = config.evaluate.pictures > 0
    title = dated_name(config)
    write_report(
        evaluation,
        folder / REPORT,
        context | {"cost of the run": cost.told},
        title=title,
        images=pictures,
        comparison=comparison,
        gate=gate,
    )
    write_metrics(evaluation, folder / METRICS, context | {"cost": asdict(cost)}, comparison)


def best_device() -> str:
    """Return `cuda` where there is a GPU, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def provenance(config: Config) -> dict[str, Any]:
    """Device, configuration and versions, for reports."""
    import torch
    import yaml

    packages = ("torch", "torchvision", "lightning", "numpy", "scipy", "onnxruntime")
    return {
        "device": torch.cuda.get_device_name() if best_device() == "cuda" else f"{platform.machine()} CPU",
        "config": yaml.safe_load(config_to_yaml(config)),
        "versions": {"python": platform.python_version(), "oaml": version("oaml")}
        | {name: version(name) for name in packages},
    }


def _compared(config: Config, rival: Mapping[str, Any], ours: Path) -> ModelComparison | None:
    """With the model in production; None, and a line in the log, if its scores cannot be had."""
    from oaml_core.evaluation.scoring.stored import read_scores
    from oaml_core.evaluation.verdict.comparison import ModelComparison, compare

    try:
        theirs = fetch_scores(config, rival["metrics_uri"])
    except (EvaluationError, StoreError) as error:
        log.warning("evaluate: no comparison with the model in production, %s: %s", rival["version"], error)
        return ModelComparison(rival["version"], [], [])
    return compare(theirs, read_scores(ours), config.evaluate.far, name=rival["version"])
