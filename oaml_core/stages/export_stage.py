"""A checkpoint → a checked ONNX model."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from oaml_core.config import Config
from oaml_core.errors import ExportError
from oaml_core.stages.addresses import SUMMARY, announce, fetch_dataset, fetch_file, prefix_of, read_metrics_json
from oaml_core.store import open_store


@dataclass(frozen=True)
class Exported:
    """What `export` gives."""

    model_uri: str
    metadata: dict[str, Any]
    model_card: str
    """Markdown."""


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
    card.write_text(model_card(metadata, measured), encoding="utf-8")
    store, prefix = open_store(config.store), prefix_of(config, checkpoint_uri)
    for made in (card, matcher_path(path), path):
        store.put_file(made, f"{prefix}/export/{made.name}")
    uri = store.url(f"{prefix}/export/{path.name}")
    made_from = {"checkpoint": checkpoint_uri, "metrics": metrics_uri, "model": uri}
    store.write_bytes(f"{prefix}/{SUMMARY}", json.dumps(made_from, indent=1).encode())
    announce("export", "model.onnx agrees with torch", uri, False)
    return Exported(uri, metadata, card.read_text(encoding="utf-8"))
