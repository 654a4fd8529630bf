"""Export a recogniser to ONNX, checked against torch before the file appears."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from oaml_core import __version__
from oaml_core.config import Config
from oaml_core.errors import ExportError
from oaml_core.evaluation.scores import evaluating
from oaml_core.export.checks import check_same_outputs
from oaml_core.export.runtime import OUTPUTS
from oaml_core.models.features import Features
from oaml_core.models.recogniser import Recogniser


class OnnxRecogniser(nn.Module):
    """The recogniser with the outputs that the ONNX model has."""

    def __init__(self, model: Recogniser, preprocessing: bool) -> None:
        super().__init__()
        self.model = model
        self.preprocessing = preprocessing

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """uint8 [B, H, W, 3] with preprocessing, else float [B, 3, H, W] in [-1, 1] → the outputs of `OUTPUTS`."""
        if self.preprocessing:
            images = normalised(images)
        features: Features = self.model(images)
        return (
            features.embedding,
            features.norm,
            features.visibility,
            normalize(features.feature_map, dim=1),
        )


def normalised(images: Tensor) -> Tensor:
    """float [B, 3, H, W] in [-1, 1] from uint8 [B, H, W, 3]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1.0


def export_onnx(
    model: Recogniser,
    path: Path,
    config: Config,
    check_images: NDArray[np.uint8],
    *,
    fingerprint: str | None = None,
    metrics: Mapping[str, Any] | None = None,
    licence: str | None = None,
) -> dict[str, Any]:
    """Write `path`, after torch and onnxruntime agree on real images.

    The model has one input, `images` (see `config.export.preprocessing`), a dynamic batch axis, and the outputs
    `embedding` [B, E], `norm` [B, 1], `visibility` [B, 1, h, w] and `local_features` [B, C, h, w]. The file
    appears by rename: a model that fails the check is never seen under its name.

    Args:
        model: trained recogniser; it is exported from the CPU in evaluation mode and given back as it was.
        path: `….onnx`.
        config: of the run; `export` holds opset, tolerance and the number of images checked.
        check_images: uint8 [n, H, W, 3] RGB, real faces, of which `config.export.check_images` are used.
        fingerprint: of the data set that the model was trained on.
        metrics: content of `metrics.json`; headline and thresholds are stored in the model.
        licence: of the weights; None: what the config says about where they come from.

    Returns:
        The metadata that is stored in the model under the key `oaml` (JSON).

    Raises:
        ExportError: there are no images to check with, the exporter cannot translate the model, or the
            difference exceeds `config.export.tolerance`.
    """
    images = np.ascontiguousarray(check_images[: config.export.check_images])
    if not len(images):
        raise ExportError("There is no image to check the exported model with; give a verification set.")
    device = next(model.parameters()).device
    partial = path.with_name(path.name + ".partial")
    metadata = _metadata(config, images.shape[1], fingerprint, metrics, licence)
    try:
        with evaluating(model.cpu()):
            _export(OnnxRecogniser(model, config.export.preprocessing).eval(), partial, config, images[:2])
            _store_metadata(partial, metadata)
            metadata["largest_difference"] = check_same_outputs(
                OnnxRecogniser(model, preprocessing=True).eval(), partial, images, config.export.tolerance
            )
        _store_metadata(partial, metadata)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
        model.to(device)
    return metadata


def config_digest(config: Config) -> str:
    """SHA-256 of the configuration as sorted JSON."""
    return hashlib.sha256(json.dumps(asdict(config), sort_keys=True).encode()).hexdigest()


def thresholds(metrics: Mapping[str, Any] | None, score: str = "global") -> dict[str, float]:
    """Threshold for each measurable FAR, from the clean pairs of the first set in `metrics.json`."""
    sets = list((metrics or {}).get("sets", {}).values())
    if not sets:
        return {}
    points = sets[0]["conditions"]["clean"]["scores"][score]["tar_at_far"]
    return {f"{point['far']:g}": point["threshold"] for point in points if point["measurable"]}


def _export(model: nn.Module, path: Path, config: Config, images: NDArray[np.uint8]) -> None:
    example = torch.from_numpy(images)
    if not config.export.preprocessing:
        example = normalised(example)
    try:
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            opset_version=config.export.opset,
            input_names=["images"],
            output_names=list(OUTPUTS),
            dynamic_shapes={"images": {0: torch.export.Dim.DYNAMIC}},
            verbose=False,
        )
        assert program is not None  # dynamo=True always returns one
        program.save(str(path), external_data=False)
    except Exception as error:  # the exporter raises what the failing operator raises
        raise ExportError(f"The model cannot be exported with export.opset {config.export.opset}: {error}") from error


def _store_metadata(path: Path, metadata: Mapping[str, Any]) -> None:
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"oaml": json.dumps(metadata)})
    onnx.save(model, path)


def _metadata(
    config: Config,
    image_size: int,
    fingerprint: str | None,
    metrics: Mapping[str, Any] | None,
    licence: str | None,
) -> dict[str, Any]:
    weights = config.model.weights
    return {
        "oaml_version": __version__,
        "torch_version": str(torch.__version__),
        "image_size": image_size,
        "preprocessing": config.export.preprocessing,
        "opset": config.export.opset,
        "arch": config.model.arch,
        "config": asdict(config),
        "config_digest": config_digest(config),
        "fingerprint": fingerprint,
        "headline": dict((metrics or {}).get("headline", {})),
        "thresholds": thresholds(metrics),
        "licence": licence or _licence_of(weights),
    }


def _licence_of(weights: str | None) -> str:
    if weights is None:
        return "that of the training data"
    return f"that of the training data and of the pretrained weights {Path(weights).name}"
