"""Export a recogniser to ONNX, checked against torch before the file appears."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from oaml_core.config import Config
from oaml_core.errors import ExportError
from oaml_core.export.checks import (
    CheckPairs,
    check_accuracy,
    check_same_outputs,
    check_same_scores,
    images_per_second,
)
from oaml_core.export.metadata import local_score_of, metadata_of, store_metadata
from oaml_core.export.onnx_graph import OnnxMatcher, OnnxRecogniser, local_features, normalised, on_cpu, write_graph
from oaml_core.export.trial_faces import store_trial
from oaml_core.export.variants import write_variant
from oaml_core.inference.model_files import Variant, matcher_path, variant_path
from oaml_core.inference.onnx_model import OamlOnnx
from oaml_core.models.features import Features
from oaml_core.models.modes import evaluating
from oaml_core.models.recogniser import Recogniser
from oaml_core.whole_file import written_whole


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
    `embedding` [B, E], `norm` [B, 1], `visibility` [B, 1, h, w] and `local_features` [B, C, h, w]; of a matcher that
    makes one vector of a face also `local_embedding` [B, E]. The file appears by rename: a model that fails the check
    is never seen under its name.

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
    metadata = metadata_of(config, images.shape[1], fingerprint, metrics, licence) | local_score_of(model.matcher)
    reference = OnnxRecogniser(model, preprocessing=True)
    exported = OnnxRecogniser(model, config.export.preprocessing)
    # Two images even if there is one: an axis of length 1 would be exported as fixed.
    example = torch.from_numpy(images[[0, -1]])
    with written_whole(path) as partial:
        with on_cpu(model), evaluating(reference), evaluating(exported):
            write_graph(
                exported,
                {"images": example if config.export.preprocessing else normalised(example)},
                exported.outputs,
                partial,
                config,
            )
            store_metadata(partial, metadata)
            metadata["largest_difference"] = check_same_outputs(reference, partial, images, config.export.tolerance)
        if pairs is not None:
            exported_model = OamlOnnx(partial, matcher=matcher_path(path))
            metadata |= _measured(exported_model, pairs, 0.0, path.name)
        store_metadata(partial, metadata)
        store_trial(partial)
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
    with written_whole(path) as partial:
        write_variant(source, partial, variant, calibration, preprocessing=config.export.preprocessing)
        exported = OamlOnnx(partial, matcher=matcher_path(source))
        metadata = exported.metadata | {"variant": variant, "bytes": partial.stat().st_size}
        metadata |= _measured(exported, pairs, config.export.accuracy_loss, path.name)
        store_metadata(partial, metadata)
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
    exported = OnnxMatcher(model.matcher)
    with written_whole(path) as partial, on_cpu(model), evaluating(model), evaluating(exported):
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
        write_graph(exported, {name: tensor[:2] for name, tensor in inputs.items()}, ("score",), partial, config)
        largest = check_same_scores(exported, partial, inputs, config.export.tolerance)
    return {"score": largest}


def _check_images(images: NDArray[np.uint8], config: Config) -> NDArray[np.uint8]:
    if not len(images):
        raise ExportError("There is no image to check the exported model with; give a verification set.")
    return np.array(images[: config.export.check_images])
