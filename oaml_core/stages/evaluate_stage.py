"""A checkpoint → what it can do: `metrics.json`, every pair's scores, and the report."""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.config import Config
from oaml_core.errors import EvaluationError, StoreError
from oaml_core.kept_memory import keep_freed_memory
from oaml_core.settings import config_to_yaml
from oaml_core.stages.addresses import announce, dated_name, fetch_scores, read_metrics_json
from oaml_core.stages.costs import Attempt, costing
from oaml_core.stages.evaluate_shards import merged_scores
from oaml_core.stages.evaluation_inputs import METRICS, REPORT, EvaluationInputs, best_device, device_name
from oaml_core.store import Store

if TYPE_CHECKING:
    from oaml_core.evaluation.scoring.shard_parts import ShardParts
    from oaml_core.evaluation.verdict.comparison import ModelComparison

log = logging.getLogger(__name__)


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


def evaluate(
    config: Config, dataset_uri: str, checkpoint_uri: str, *, shards: int | None = None, only_merge: bool = False
) -> Evaluated:
    """Measure the model at `checkpoint_uri` on every verification set, clean and occluded, and against the champion.

    An evaluation that is in the store already, of the same checkpoint, pairs and `config.evaluate`, and compared with
    the model that is in production now, is given back as it is.

    Args:
        config: `store`, `work_dir`, `evaluate` and `promote`.
        dataset_uri: data set with the pairs.
        checkpoint_uri: file or address in the store.
        shards: number of shards that the pairs are scored in, see `evaluate_shard`; those that are missing are made
            here, one after another. The results are the same. None: all at once.
        only_merge: make no shard here.

    Raises:
        ConfigError: the number of shards is below 1. EvaluationError: no protocol can be computed, or shards are
            missing or of something else. CheckpointError: the model cannot be read.

    Example:
        >>> import oaml_core as oaml
        >>> config = oaml.load_config("smoke", ["--store", "shelf", "--data.synthetic_identities", "16"])
        >>> found = oaml.evaluate(config, oaml.prepare(config).dataset_uri, "best.ckpt")
        >>> found.metrics_uri.rpartition("/")[2]
        'metrics.json'
    """
    keep_freed_memory()
    inputs = EvaluationInputs(config, dataset_uri, checkpoint_uri)
    parts = None if shards is None else inputs.parts(shards)
    reused = inputs.is_current()
    if reused:
        inputs.store.get_file(f"{inputs.prefix}/{REPORT}", inputs.folder / REPORT)
    else:
        with costing(config, "evaluate", inputs.run, gpus=int(best_device() == "cuda")) as attempt:
            _measure(inputs, attempt, parts, only_merge=only_merge)
            # What the others are found by comes last.
            inputs.store.put_tree(inputs.folder, inputs.prefix, last=METRICS)
        if parts is not None:
            parts.remove()
    announce("evaluate", "report.html and metrics.json", inputs.store.url(inputs.prefix), reused)
    return _given_back(inputs.store, inputs.prefix, inputs.folder / REPORT, reused)


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


def _measure(inputs: EvaluationInputs, attempt: Attempt, parts: ShardParts | None, *, only_merge: bool) -> None:
    """Evaluate, and write report, scores and metrics into the local folder."""
    from oaml_core.evaluation.report.report import write_report
    from oaml_core.evaluation.scoring.stored import SCORES_FILE, write_scores
    from oaml_core.evaluation.verdict.evaluate import evaluate_model
    from oaml_core.evaluation.verdict.gate import decide
    from oaml_core.evaluation.verdict.metrics_json import write_metrics

    opened, folder = inputs.open(), inputs.folder
    config, dataset, trained = opened.config, opened.dataset, opened.trained
    merged = None if parts is None else merged_scores(opened, parts, only_merge=only_merge)
    evaluation = evaluate_model(
        trained.recogniser,
        dataset.verification,
        config,
        opened.device,
        strangers=opened.strangers,
        scored=None if merged is None else merged.sets,
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_scores(evaluation, folder / SCORES_FILE)
    comparison = None if inputs.rival is None else _compared(config, inputs.rival, folder / SCORES_FILE)
    cost = attempt.cost_of_run()
    context = {
        "dataset_fingerprint": dataset.manifest.fingerprint,
        "checkpoint": inputs.checkpoint_uri,
        "step": trained.step,
        "seconds": {"loading": round(opened.seconds, 3), **evaluation.seconds},
        **provenance(config),
    }
    if merged is not None:
        context["device"] = merged.devices
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


def provenance(config: Config) -> dict[str, Any]:
    """Device, configuration and versions, for reports."""
    import yaml

    packages = ("torch", "torchvision", "lightning", "numpy", "scipy", "onnxruntime")
    return {
        "device": device_name(),
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
