"""Metadata of an exported model: what it was trained on, its thresholds, its licence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from oaml_core import __version__
from oaml_core.config import Config
from oaml_core.models.matcher import Matcher
from oaml_core.models.pooled import PooledAlone
from oaml_core.settings import digest


def operating_points(metrics: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return thresholds and normalisations of the scores, from the clean pairs of the first set in `metrics.json`.

    Returns:
        `thresholds` (of the global, the combined and the calibrated score, for each measurable FAR), `combined` (the
        rule), `strangers` (by whom it measures), `fusion` (the weights), `decision` (name of the score that decides)
        and `by_visible_share` (TAR by what a pair shows). Empty without metrics.
    """
    found = next(iter((metrics or {}).get("sets", {}).values()), None)
    if metrics is None or found is None:
        nothing = dict.fromkeys(("combined", "strangers", "fusion", "decision"))
        return {"thresholds": {}, **nothing, "by_visible_share": {}}
    scores = found["conditions"]["clean"]["scores"]
    return {
        "thresholds": {
            name: {f"{p['far']:g}": p["threshold"] for p in scores[name]["tar_at_far"] if p["measurable"]}
            for name in ("global", "combined", "calibrated")
            if name in scores
        },
        "combined": found["combined"],
        "strangers": metrics.get("strangers"),
        "fusion": found.get("fusion"),
        "decision": found.get("decision", "combined"),
        "by_visible_share": found.get("by_visible_share", {}),
    }


def store_metadata(path: Path, metadata: Mapping[str, Any], beside: Mapping[str, str] | None = None) -> None:
    """Put the metadata of an exported model into its file.

    Args:
        path: the model.
        metadata: all of them; what was there before is replaced.
        beside: texts of entries beside it, by name; other entries stay.
    """
    import onnx

    model = onnx.load(path)
    kept = {one.key: one.value for one in model.metadata_props}
    onnx.helper.set_model_props(model, kept | dict(beside or {}) | {"oaml": json.dumps(metadata)})
    onnx.save(model, path)


def metadata_of(
    config: Config,
    image_size: int,
    fingerprint: str | None,
    metrics: Mapping[str, Any] | None,
    licence: str | None,
) -> dict[str, Any]:
    """Return the metadata of a model that is exported now.

    Args:
        config: of the run.
        image_size: side of the square input in pixels.
        fingerprint: of the data set that the model was trained on.
        metrics: content of `metrics.json`; None: it was not evaluated.
        licence: of the weights; None: what the config says about where they come from.
    """
    weights = config.model.weights
    return {
        "oaml_version": __version__,
        "torch_version": str(torch.__version__),
        "image_size": image_size,
        "preprocessing": config.export.preprocessing,
        "opset": config.export.opset,
        "arch": config.model.arch,
        "config": asdict(config),
        "config_digest": digest(config),
        "fingerprint": fingerprint,
        "headline": dict((metrics or {}).get("headline", {})),
        **operating_points(metrics),
        "licence": licence or _licence_of(weights),
    }


def local_score_of(matcher: Matcher) -> dict[str, Any]:
    """Return how a cosine of local embeddings becomes the local score, for a matcher that makes one vector of a face.

    Returns:
        `local_score` with `scale` and `shift`: scale · cosine + shift. Empty for other matchers.
    """
    if not isinstance(matcher, PooledAlone):
        return {}
    scale, shift = matcher.line
    return {"local_score": {"scale": scale, "shift": shift}}


def _licence_of(weights: str | None) -> str:
    if weights is None:
        return "that of the training data"
    return f"that of the training data and of the pretrained weights {Path(weights).name}"
