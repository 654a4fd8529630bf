"""Export a recogniser to ONNX, checked against torch before the file appears."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from oaml_core.export.checks import (
    CheckPairs,
    check_accuracy,
    check_same_outputs,
    check_same_scores,
    images_per_second,
)
from oaml_core.export.variants import write_variant
from oaml_core.inference.onnx_model import OUTPUTS, OamlOnnx, Variant, matcher_path, variant_path
from oaml_core.models.features import Features
from oaml_core.models.matcher import Matcher
from oaml_core.models.modes import evaluating
from oaml_core.models.recogniser import Recogniser
from oaml_core.settings import digest


class OnnxRecogniser(nn.Module):
    """The recogniser with the outputs that the ONNX model has."""

    def __init__(self, model: Recogniser, preprocessing: bool) -> None:
        super().__init__()
        self.model = model
        self.preprocessing = preprocessing

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return uint8 [B, H, W, 3] with preprocessing, else float [B, 3, H, W] in [-1, 1] → the outputs of
        `OUTPUTS`.
        """
        if self.preprocessing:
            images = normalised(images)
        features: Features = self.model(images)
        return (
            features.embedding,
            features.norm,
            features.visibility,
            local_features(self.model, features),
        )


class OnnxMatcher(nn.Module):
    """The matcher with the inputs that the second ONNX model has."""

    def __init__(self, matcher: Matcher) -> None:
        super().__init__()
        self.matcher = matcher

    def forward(self, probe: Tensor, gallery: Tensor, probe_visibility: Tensor, gallery_visibility: Tensor) -> Tensor:
        """Maps [N, C, h, w] and visibility [N, 1, h, w] of N pairs → scores [N]."""
        return self.matcher.match_pairs(probe, gallery, probe_visibility, gallery_visibility)


def local_features(model: Recogniser, features: Features) -> Tensor:
    """Return the maps [B, C, h, w] that the matcher is given: unit vectors, unless their lengths matter to it."""
    return features.feature_map if model.matcher.keeps_lengths else normalize(features.feature_map, dim=1)


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
    pairs: CheckPairs | None = None,
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
        pairs: pairs on which the verification accuracy must be that of the trained model too; the matcher must have
            been exported before. None: outputs alone are compared.

    Returns:
        The metadata that is stored in the model under the key `oaml` (JSON).

    Raises:
        ExportError: there are no images to check with, the exporter cannot translate the model, or the
            difference exceeds `config.export.tolerance`.
    """
    images = _check_images(check_images, config)
    partial = path.with_name(path.name + ".partial")
    metadata = _metadata(config, images.shape[1], fingerprint, metrics, licence)
    reference = OnnxRecogniser(model, preprocessing=True)
    exported = OnnxRecogniser(model, config.export.preprocessing)
    # Two images even if there is one: an axis of length 1 would be exported as fixed.
    example = torch.from_numpy(images[[0, -1]])
    try:
        with _on_cpu(model), evaluating(reference), evaluating(exported):
            _export(
                exported,
                {"images": example if config.export.preprocessing else normalised(example)},
                OUTPUTS,
                partial,
                config,
            )
            store_metadata(partial, metadata)
            metadata["largest_difference"] = check_same_outputs(reference, partial, images, config.export.tolerance)
        if pairs is not None:
            exported_model = OamlOnnx(partial, matcher=matcher_path(path))
            metadata |= _measured(exported_model, pairs, 0.0, path.name)
        store_metadata(partial, metadata)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return metadata


def export_variant(
    source: Path, variant: Variant, config: Config, calibration: NDArray[np.uint8], pairs: CheckPairs
) -> dict[str, Any]:
    """Write `variant` of the exported model `source` beside it, after its accuracy is found good enough.

    Args:
        source: `….onnx`, its matcher beside it.
        calibration: uint8 [n, H, W, 3] RGB, training faces; see `write_variant`.
        pairs: verification pairs.

    Returns:
        Its metadata: those of `source`, with `variant`, `bytes`, `accuracy` and `images_per_second` of its own.

    Raises:
        ExportError: it cannot be made, or loses more accuracy than `config.export.accuracy_loss`.
    """
    path = variant_path(source, variant)
    partial = path.with_name(path.name + ".partial")
    try:
        write_variant(source, partial, variant, calibration, preprocessing=config.export.preprocessing)
        exported = OamlOnnx(partial, matcher=matcher_path(source))
        metadata = exported.metadata | {"variant": variant, "bytes": partial.stat().st_size}
        metadata |= _measured(exported, pairs, config.export.accuracy_loss, path.name)
        store_metadata(partial, metadata)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return metadata


def _measured(exported: OamlOnnx, pairs: CheckPairs, loss: float, name: str) -> dict[str, Any]:
    """Accuracy beside the trained model's, and speed; raises ExportError where too much accuracy is lost."""
    return {
        "accuracy": {
            "pairs": len(pairs.issame),
            "trained": pairs.accuracy,
            "exported": check_accuracy(exported, pairs, loss, name),
        },
        "images_per_second": images_per_second(exported, pairs.images),
    }


def export_matcher_onnx(
    model: Recogniser, path: Path, config: Config, check_images: NDArray[np.uint8]
) -> dict[str, float]:
    """Write the matcher as a model of its own, after torch and onnxruntime agree on pairs of real images.

    Inputs are `probe` and `gallery` [N, C, h, w] (the first model's `local_features`) and `probe_visibility` and
    `gallery_visibility` [N, 1, h, w]; the output is `score` [N]. Kept beside `model.onnx` as
    `model.matcher.onnx` it is found by `OamlOnnx`.

    Args:
        model: trained recogniser.
        path: `….matcher.onnx`.
        config: of the run.
        check_images: uint8 [n, H, W, 3] RGB, real faces, at least two.

    Returns:
        The largest difference found.

    Raises:
        ExportError: see `export_onnx`; differences are relative to the spread of the scores.
    """
    images = _check_images(check_images, config)
    partial = path.with_name(path.name + ".partial")
    exported = OnnxMatcher(model.matcher)
    try:
        with _on_cpu(model), evaluating(model), evaluating(exported):
            with torch.inference_mode():
                features: Features = model(normalised(torch.from_numpy(images)))
            # Every image with its successor, and with itself: unlike and equal pairs.
            other = torch.cat([torch.arange(len(images)).roll(-1), torch.arange(len(images))])
            maps, visibility = local_features(model, features), features.visibility
            inputs = {
                "probe": maps.repeat(2, 1, 1, 1),
                "gallery": maps[other],
                "probe_visibility": visibility.repeat(2, 1, 1, 1),
                "gallery_visibility": visibility[other],
            }
            # Inference tensors cannot be traced.
            inputs = {name: tensor.clone() for name, tensor in inputs.items()}
            _export(exported, {name: tensor[:2] for name, tensor in inputs.items()}, ("score",), partial, config)
            largest = check_same_scores(exported, partial, inputs, config.export.tolerance)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return {"score": largest}


def operating_points(metrics: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return thresholds and normalisations of the scores, from the clean pairs of the first set in `metrics.json`.

    Returns:
        `thresholds` (of the global, the combined and the calibrated score, for each measurable FAR), `combined` (the
        rule), `fusion` (the weights), `decision` (name of the score that decides) and `by_visible_share` (TAR by what a
        pair shows). Empty without metrics.
    """
    found = next(iter((metrics or {}).get("sets", {}).values()), None)
    if found is None:
        return {"thresholds": {}, "combined": None, "fusion": None, "decision": None, "by_visible_share": {}}
    scores = found["conditions"]["clean"]["scores"]
    return {
        "thresholds": {
            name: {f"{p['far']:g}": p["threshold"] for p in scores[name]["tar_at_far"] if p["measurable"]}
            for name in ("global", "combined", "calibrated")
            if name in scores
        },
        "combined": found["combined"],
        "fusion": found.get("fusion"),
        "decision": found.get("decision", "combined"),
        "by_visible_share": found.get("by_visible_share", {}),
    }


def _check_images(images: NDArray[np.uint8], config: Config) -> NDArray[np.uint8]:
    if not len(images):
        raise ExportError("There is no image to check the exported model with; give a verification set.")
    return np.array(images[: config.export.check_images])


@contextmanager
def _on_cpu(model: nn.Module) -> Iterator[None]:
    device = next(model.parameters()).device
    model.cpu()
    try:
        yield
    finally:
        model.to(device)


def _export(model: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], path: Path, config: Config) -> None:
    for converter in ("onnx_ir", "onnxscript"):  # they tell each of their passes
        logging.getLogger(converter).setLevel(logging.WARNING)
    try:
        program = torch.onnx.export(
            model,
            tuple(inputs.values()),
            dynamo=True,
            opset_version=config.export.opset,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes={name: {0: torch.export.Dim.DYNAMIC} for name in inputs},
            verbose=False,
        )
        assert program is not None  # dynamo=True always returns one
        program.save(str(path), external_data=False)
        written = {entry.domain: entry.version for entry in program.model_proto.opset_import}[""]
    except Exception as error:  # the exporter raises what the failing operator raises
        raise ExportError(f"The model cannot be exported with export.opset {config.export.opset}: {error}") from error
    if written != config.export.opset:
        raise ExportError(
            f"torch {torch.__version__} exports this model with operator set {written}, not export.opset "
            f"{config.export.opset}; set export.opset to {written}."
        )


def store_metadata(path: Path, metadata: Mapping[str, Any]) -> None:
    """Put the metadata of an exported model into its file.

    Args:
        path: the model.
        metadata: all of them; what was there before is replaced.
    """
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
        "config_digest": digest(config),
        "fingerprint": fingerprint,
        "headline": dict((metrics or {}).get("headline", {})),
        **operating_points(metrics),
        "licence": licence or _licence_of(weights),
    }


def _licence_of(weights: str | None) -> str:
    if weights is None:
        return "that of the training data"
    return f"that of the training data and of the pretrained weights {Path(weights).name}"
