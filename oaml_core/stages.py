"""prepare → train → evaluate → export → promote: plain functions over a store.

The command line and the Kubeflow components call these and nothing below them. Each stage takes addresses of what
earlier stages put into the store, puts its own results there, the file that makes them complete last, and says
where they are. A stage whose results are there already, from the same inputs, gives those.
"""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.config import Config
from oaml_core.errors import ExportError
from oaml_core.settings import config_to_yaml, digest
from oaml_core.store import open_store, split_uri

if TYPE_CHECKING:
    from oaml_core.data.prepared import PreparedDataset

log = logging.getLogger(__name__)

GATE_METRIC = "val_accuracy_clean_combined"
"""What promotion compares."""
PRODUCTION = "models/production.json"
SUMMARY = "run.json"
"""Addresses of a run's checkpoint, metrics and model; there when the model is."""


@dataclass(frozen=True)
class Prepared:
    """What `prepare` gives."""

    dataset_uri: str
    fingerprint: str
    reused: bool
    summary: dict[str, int]
    """Images, identities, verification pairs, images set aside."""


@dataclass(frozen=True)
class Trained:
    """What `train` gives."""

    checkpoint_uri: str
    run_uri: str
    val_acc: float
    """Best accuracy of the combined score in validation, in [0, 1]."""
    metrics: dict[str, float]
    """Of the last validation."""


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


@dataclass(frozen=True)
class Exported:
    """What `export` gives."""

    model_uri: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Promoted:
    """What `promote` gives."""

    version: str
    promoted: bool
    reason: str


def prepare(config: Config) -> Prepared:
    """Check the faces that `config.data` names, and put them into the store in the form that training reads.

    Raises:
        DataError: the source cannot be used, or too much of it is broken.
    """
    from oaml_core.data.prepare import prepare_dataset

    made = prepare_dataset(config, open_store(config.store))
    manifest = made.manifest
    summary = {
        "images": manifest.images,
        "identities": len(manifest.identities),
        "verification_pairs": sum(manifest.verification.values()),
        "set_aside": manifest.set_aside,
    }
    _done("prepare", f"{summary['images']:,} images of {summary['identities']:,} identities", made.uri, made.reused)
    return Prepared(made.uri, made.fingerprint, made.reused, summary)


def train(config: Config, dataset_uri: str, *, launcher: str = "local") -> Trained:
    """Train on the data set at `dataset_uri`, or go on where an earlier try of the same run stopped.

    Args:
        launcher: `local` starts `torchrun` on this machine; `none` trains in this process.

    Raises:
        OamlError: the workers failed for good; the message names the log and the checkpoints.
    """
    from oaml_core.training.launcher import launch
    from oaml_core.training.worker import RESULT

    store = open_store(config.store)
    dataset = fetch_dataset(config, dataset_uri)
    prefix = run_prefix(config, dataset_uri)
    run_dir = Path(config.work_dir) / prefix
    reused = store.exists(f"{prefix}/{RESULT}")
    if not reused:
        launch(config, dataset.directory, run_dir, prefix, in_process=launcher == "none")
        store.put_file(run_dir / "checkpoints" / "best.ckpt", f"{prefix}/best.ckpt")
        store.put_file(run_dir / "metrics.csv", f"{prefix}/metrics.csv")
        store.put_file(run_dir / RESULT, f"{prefix}/{RESULT}")
    result = json.loads(store.read_bytes(f"{prefix}/{RESULT}"))
    best = result.pop("best_val_acc")
    _done("train", f"val_acc {best:.4f}", store.url(f"{prefix}/best.ckpt"), reused)
    return Trained(store.url(f"{prefix}/best.ckpt"), store.url(prefix), best, result)


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
    store, prefix = open_store(config.store), f"{_prefix_of(config, checkpoint_uri)}/{folder.name}"
    store.put_file(report, f"{prefix}/{report.name}")
    store.put_file(measured, f"{prefix}/{measured.name}")
    clean = next(iter(evaluation.sets.values())).conditions["clean"].scores["combined"]
    _done("evaluate", "report.html and metrics.json", store.url(prefix), False)
    return Evaluated(
        store.url(f"{prefix}/{measured.name}"),
        store.url(f"{prefix}/{report.name}"),
        metrics(evaluation)["headline"],
        roc_points(clean.roc),
        report,
    )


def export(config: Config, dataset_uri: str, checkpoint_uri: str, metrics_uri: str) -> Exported:
    """Write the model at `checkpoint_uri` as ONNX, checked against torch on faces of the data set.

    Raises:
        ExportError: the exported model does not do what the trained one does.
    """
    from oaml_core.export.model_card import model_card
    from oaml_core.export.onnx_export import export_matcher_onnx, export_onnx
    from oaml_core.export.runtime import matcher_path
    from oaml_core.training.trained import load_trained

    dataset = fetch_dataset(config, dataset_uri)
    checkpoint = fetch_file(config, checkpoint_uri)
    trained = load_trained(checkpoint)
    measured = read_metrics_json(metrics_uri)
    faces = next((pairs.images for pairs in dataset.verification.values()), None)
    if faces is None:
        raise ExportError("The data set has no verification set, and so no faces to check the exported model with.")
    config = replace(config, model=trained.config.model, data=trained.config.data)
    path = checkpoint.parent / "model.onnx"
    metadata = export_onnx(trained.recogniser, path, config, faces, fingerprint=trained.fingerprint, metrics=measured)
    export_matcher_onnx(trained.recogniser, matcher_path(path), config, faces)
    card = path.with_name("MODEL_CARD.md")
    card.write_text(model_card(metadata, measured))
    store, prefix = open_store(config.store), _prefix_of(config, checkpoint_uri)
    for made in (card, matcher_path(path), path):
        store.put_file(made, f"{prefix}/export/{made.name}")
    uri = store.url(f"{prefix}/export/{path.name}")
    made_from = {"checkpoint": checkpoint_uri, "metrics": metrics_uri, "model": uri}
    store.write_bytes(f"{prefix}/{SUMMARY}", json.dumps(made_from, indent=1).encode())
    _done("export", "model.onnx agrees with torch", uri, False)
    return Exported(uri, metadata)


def promote(config: Config, model_uri: str, metrics_uri: str) -> Promoted:
    """Make the model at `model_uri` the one in production, unless that one is better or cannot be compared.

    The pointer `models/production.json` is written last; what it pointed to before stays where it is.
    """
    store = open_store(config.store)
    measured = read_metrics_json(metrics_uri)
    accuracy, sets = measured["headline"][GATE_METRIC], sorted(measured["sets"])
    name = digest(model_uri, metrics_uri)
    champion = json.loads(store.read_bytes(PRODUCTION)) if store.exists(PRODUCTION) else None
    objection = None if champion is None else _objection(champion, accuracy, sets)
    if champion is not None and objection is not None:
        log.info("promote: kept %s: %s", champion["version"], objection)
        return Promoted(name, False, objection)
    pointer = {"version": name, "model_uri": model_uri, "metrics_uri": metrics_uri, "accuracy": accuracy, "sets": sets}
    store.write_bytes(PRODUCTION, json.dumps(pointer, indent=1).encode())
    _done("promote", f"version {name}", store.url(PRODUCTION), False)
    return Promoted(name, True, "the first model" if champion is None else f"not below {champion['accuracy']:.4f}")


def _objection(champion: Mapping[str, Any], accuracy: float, sets: list[str]) -> str | None:
    """Why a model of this accuracy on these verification sets does not replace the champion; None if it does."""
    theirs = champion.get("sets", [])
    if theirs != sets:
        return (
            f"it was measured on {', '.join(theirs)} and the new model on {', '.join(sets)}, so that the two cannot be "
            f"compared. Remove {PRODUCTION} from the store to begin anew"
        )
    if champion["accuracy"] > accuracy:
        return f"the new model's {GATE_METRIC} {accuracy:.4f} is below its {champion['accuracy']:.4f}"
    return None


def run_summary(config: Config, dataset_uri: str) -> dict[str, str]:
    """Addresses of `checkpoint`, `metrics` and `model` of the exported run that `config` describes.

    Raises:
        StoreError: there is no such run, or its model is not exported.
    """
    return json.loads(open_store(config.store).read_bytes(f"{run_prefix(config, dataset_uri)}/{SUMMARY}"))


def run_prefix(config: Config, dataset_uri: str) -> str:
    """The run's place in the store and below `work_dir`: the same for all tries of the same training."""
    learnt = (config.seed, config.data, config.augment, config.model, config.loss, config.optim)
    return f"runs/{config.name}-{digest(*learnt, dataset_uri.rpartition('/')[2])}"


def fetch_dataset(config: Config, dataset_uri: str) -> PreparedDataset:
    """The data set in the local cache, fetched from the store if it is not whole there."""
    from oaml_core.data.prepare import dataset_folder
    from oaml_core.data.prepared import fetch_prepared

    return fetch_prepared(dataset_uri, dataset_folder(config, dataset_uri.rpartition("/")[2]))


def fetch_file(config: Config, uri: str) -> Path:
    """The object at `uri` (or a local file) in the run's local folder."""
    if "://" not in uri:
        return Path(uri)
    store, key = split_uri(uri)
    path = Path(config.work_dir) / _prefix_of(config, uri) / uri.rpartition("/")[2]
    store.get_file(key, path)
    return path


def read_metrics_json(uri: str) -> dict[str, Any]:
    """The content of a `metrics.json` in a store or a local file."""
    if "://" not in uri:
        return json.loads(Path(uri).read_text())
    store, key = split_uri(uri)
    return json.loads(store.read_bytes(key))


def _prefix_of(config: Config, uri: str) -> str:
    """The run's prefix within the store that `uri`, an object of the run, lies in; `adopted/…` for other files."""
    base = open_store(config.store).uri
    if uri.startswith(f"{base}/runs/"):
        return "/".join(uri.removeprefix(f"{base}/").split("/")[:2])
    return f"adopted/{digest(uri)}"


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


def _done(stage: str, what: str, uri: str, reused: bool) -> None:
    log.info("%s: %s%s\n  → %s", stage, what, " (was there already)" if reused else "", uri)
