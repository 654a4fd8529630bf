"""A checkpoint → checked ONNX models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oaml_core.amounts import amount
from oaml_core.config import Config
from oaml_core.errors import ExportError, StoreError
from oaml_core.kept_memory import keep_freed_memory
from oaml_core.settings import digest
from oaml_core.stages.addresses import SUMMARY, announce, fetch_dataset, fetch_file, prefix_of, read_metrics_json
from oaml_core.stages.costs import costing
from oaml_core.store import open_store

if TYPE_CHECKING:
    from oaml_core.data.prepared.prepared import PreparedDataset
    from oaml_core.export.checks import CheckPairs
    from oaml_core.models.recogniser import Recogniser

RECORD = "export.json"
"""What an export was made from, and its metadata; there when all its files are."""


@dataclass(frozen=True)
class Exported:
    """Result of `export`."""

    model_uri: str
    metadata: dict[str, Any]
    """Metadata of `model.onnx`; `variants` holds that of each variant, by its name."""
    model_card: str
    """Markdown."""
    reused: bool = False


def export(config: Config, dataset_uri: str, checkpoint_uri: str, metrics_uri: str) -> Exported:
    """Write the model at `checkpoint_uri` as ONNX, and the variants of it, checked against torch on verification faces.

    Nothing is done again where the same checkpoint was exported with the same metrics and settings.

    Raises:
        ExportError: an exported model does not do what the trained one does.
    """
    keep_freed_memory()
    store, prefix = open_store(config.store), f"{prefix_of(config, checkpoint_uri)}/export"
    checkpoint = fetch_file(config, checkpoint_uri)
    measured = read_metrics_json(metrics_uri)
    made_from = digest(config.export, dataset_uri, _sha256(checkpoint), json.dumps(measured, sort_keys=True))
    uri = store.url(f"{prefix}/model.onnx")
    record = _record(store, f"{prefix}/{RECORD}")
    reused = record is not None and record["made_from"] == made_from
    if not reused:
        with costing(config, "export", prefix_of(config, checkpoint_uri)):
            dataset = fetch_dataset(config, dataset_uri)
            metadata, files = _write_models(config, dataset, checkpoint, measured)
            for made in files:
                store.put_file(made, f"{prefix}/{made.name}")
        card = files[0].read_text(encoding="utf-8")
        record = {"made_from": made_from, "metadata": metadata, "card": card}
        store.write_bytes(f"{prefix}/{RECORD}", json.dumps(record, indent=1).encode())
    assert record is not None
    summary = {"checkpoint": checkpoint_uri, "metrics": metrics_uri, "model": uri}
    store.write_bytes(f"{prefix_of(config, checkpoint_uri)}/{SUMMARY}", json.dumps(summary, indent=1).encode())
    announce("export", _told(record["metadata"]), uri, reused)
    return Exported(uri, record["metadata"], record["card"], reused)


def _write_models(
    config: Config, dataset: PreparedDataset, checkpoint: Path, measured: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Path]]:
    """Metadata, and all files of an export beside the checkpoint: the card first, the model last."""
    from oaml_core.export.accuracy import record_accuracy, record_faces
    from oaml_core.export.calibration import calibration_faces
    from oaml_core.export.model_card import model_card
    from oaml_core.export.onnx_export import export_matcher_onnx, export_onnx, export_variant
    from oaml_core.inference.model_files import matcher_path, variant_path
    from oaml_core.training.trained import load_trained

    trained = load_trained(checkpoint)
    config = replace(config, model=trained.config.model, data=trained.config.data)
    pairs = _check_pairs(trained.recogniser, dataset, config)
    path = checkpoint.parent / "model.onnx"
    export_matcher_onnx(trained.recogniser, matcher_path(path), config, pairs.images)
    metadata = export_onnx(
        trained.recogniser,
        path,
        config,
        pairs.images,
        fingerprint=trained.fingerprint,
        metrics=measured,
        pairs=pairs,
        licence=config.export.licence,
    )
    variants: dict[str, dict[str, Any]] = {}
    if config.export.variants:
        calibration = calibration_faces(dataset.train, config)
        variants = {name: export_variant(path, name, config, calibration, pairs) for name in config.export.variants}
        recorded = record_faces(next(iter(dataset.verification.values())), config)
        for name, known in (("", metadata), *variants.items()):
            known["tar"] = record_accuracy(variant_path(path, name) if name else path, recorded)
    metadata = metadata | {"variants": variants, "checked_on": _checked_on(dataset, len(pairs.issame))}
    card = path.with_name("MODEL_CARD.md")
    card.write_text(model_card(metadata, measured), encoding="utf-8")
    return metadata, [card, matcher_path(path), *(variant_path(path, name) for name in variants), path]


def _check_pairs(model: Recogniser, dataset: PreparedDataset, config: Config) -> CheckPairs:
    """Return pairs of the first verification set, with the trained model's scores."""
    from oaml_core.evaluation.scoring.scores import score_pairs
    from oaml_core.export.checks import CheckPairs

    found = next(iter(dataset.verification.values()), None)
    if found is None:
        raise ExportError("The data set has no verification set, and so no faces to check the exported model with.")
    chosen = np.linspace(0, len(found) - 1, min(config.export.check_pairs, len(found))).astype(int)
    images = np.array(found.images[np.stack([2 * chosen, 2 * chosen + 1], 1).ravel()])
    return CheckPairs(images, np.asarray(found.issame[chosen], dtype=np.bool_), score_pairs(model, images))


def _checked_on(dataset: PreparedDataset, pairs: int) -> dict[str, Any]:
    """Say which faces an export is checked on, and whether they are drawn."""
    drawn = dataset.manifest.source_kind == "synthetic"
    return {"set": next(iter(dataset.verification)), "pairs": pairs, "drawn": drawn}


def _record(store: Any, key: str) -> dict[str, Any] | None:
    try:
        return store.read_json(key) if store.exists(key) else None
    except StoreError:
        return None


def _sha256(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def faces_checked(checked: Mapping[str, Any]) -> str:
    """Name the faces of a check, from what the export recorded of them."""
    return "drawn faces" if checked["drawn"] else f"the set {checked['set']}"


def _told(metadata: Mapping[str, Any]) -> str:
    """Name the files and the faces that they were checked on, as far as the export recorded them."""
    files, checked = ", ".join(["model.onnx", *metadata["variants"]]), metadata.get("checked_on")
    if checked is None:
        return f"{files}: checked against torch"
    return f"{files}: checked against torch on {amount(checked['pairs'], 'pair')} of {faces_checked(checked)}"
