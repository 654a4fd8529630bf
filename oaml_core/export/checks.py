"""The exported model must be the trained one: torch and onnxruntime on the same real images."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from oaml_core.amounts import amount
from oaml_core.errors import ExportError
from oaml_core.evaluation.scoring.scores import PairScores
from oaml_core.evaluation.statistics.protocols import ten_fold_any_range
from oaml_core.inference.onnx_model import OamlOnnx

BATCH_SIZES = (1, 3)
"""Beside all images at once: what fails at another batch size than the traced one shows here."""

SPEED_BATCH = 16
SPEED_RUNS = 3


@dataclass(frozen=True)
class CheckPairs:
    """Verification pairs with the trained model's scores, which every exported model has to live up to."""

    images: NDArray[np.uint8]
    """[2n, H, W, 3] RGB; pairs are rows 0-1, 2-3, …"""
    issame: NDArray[np.bool_]
    """[n]"""
    trained: PairScores

    @property
    def accuracy(self) -> dict[str, float]:
        """Return 10-fold accuracies of the trained model's `global` and `local` score."""
        return _accuracies(self.issame, self.trained.global_score, self.trained.local_score)


def check_accuracy(exported: OamlOnnx, pairs: CheckPairs, loss: float, what: str) -> dict[str, float]:
    """Return 10-fold accuracies of an exported model's `global` and `local` score.

    Args:
        exported: with its matcher.
        pairs: what it is measured on.
        loss: largest loss of accuracy against the trained model, as a share; one pair always passes, because a pair
            at the threshold may fall to either side.
        what: name of the model, for the message.

    Raises:
        ExportError: an accuracy is lower by more than that.
    """
    first, second = exported.records(pairs.images[0::2]), exported.records(pairs.images[1::2])
    scores = exported.scores(first, second)
    assert scores.local_score is not None
    found = _accuracies(pairs.issame, scores.global_score, scores.local_score)
    allowed = max(loss, 1 / len(pairs.issame)) + 1e-9
    for name, trained in pairs.accuracy.items():
        if trained - found[name] > allowed:
            raise ExportError(
                f"{what} has an accuracy of {100 * found[name]:.2f} % by its {name} score, the trained model "
                f"{100 * trained:.2f} % on the same {amount(len(pairs.issame), 'pair')}: more than "
                f"{100 * loss:g} points lost. "
                "Nothing was written. Take it out of export.variants, or raise export.accuracy_loss if that is "
                "good enough for you."
            )
    return found


def images_per_second(exported: OamlOnnx, images: NDArray[np.uint8]) -> float:
    """Return faces that `embed` takes a second, in batches of `SPEED_BATCH`: the best of `SPEED_RUNS` after a first
    one.
    """
    batch = images[:SPEED_BATCH]
    exported.embed(batch)
    seconds = []
    for _ in range(SPEED_RUNS):
        start = time.perf_counter()
        exported.embed(batch)
        seconds.append(time.perf_counter() - start)
    return len(batch) / min(seconds)


def _accuracies(
    issame: NDArray[np.bool_], global_score: NDArray[np.float64], local_score: NDArray[np.float64]
) -> dict[str, float]:
    return {
        name: ten_fold_any_range(values, issame).accuracy
        for name, values in (("global", global_score), ("local", local_score))
    }


def check_same_outputs(
    reference: nn.Module, path: Path, images: NDArray[np.uint8], tolerance: float
) -> dict[str, float]:
    """Return largest absolute difference of each output, over several batch sizes.

    The norm's difference is relative to the norm, which has no fixed range.

    Args:
        reference: takes uint8 [n, H, W, 3] and returns the outputs in the order of the model's `outputs`.
        path: the ONNX model.
        images: uint8 [n, H, W, 3] RGB, real faces.
        tolerance: largest difference that passes.

    Raises:
        ExportError: a difference exceeds the tolerance, or an output is not finite.
    """
    exported = OamlOnnx(path)
    largest = dict.fromkeys(exported.outputs, 0.0)
    for size in (len(images), *BATCH_SIZES):
        batch = images[:size]
        with torch.inference_mode():
            expected = [output.float().cpu().numpy() for output in reference(torch.from_numpy(batch))]
        for name, want, got in zip(exported.outputs, expected, exported.embed(batch)[: len(largest)], strict=True):
            largest[name] = max(largest[name], _difference(name, want, got))
    failed = {name: value for name, value in largest.items() if value > tolerance}
    if failed:
        found = ", ".join(f"{name} {value:.2g}" for name, value in failed.items())
        raise ExportError(
            f"The ONNX model differs from the trained one by more than export.tolerance {tolerance:g}: {found}. "
            "It was not written. Export with another export.opset, or raise the tolerance if the difference "
            "does not matter to you."
        )
    return largest


def check_same_scores(reference: nn.Module, path: Path, inputs: Mapping[str, torch.Tensor], tolerance: float) -> float:
    """Return largest difference of the matcher's scores, relative to their spread (their range has no fixed size).

    Args:
        reference: takes the inputs in their order and returns scores [N].
        path: the ONNX model.
        inputs: by name; the first axis is the pair.
        tolerance: largest relative difference that passes.

    Raises:
        ExportError: the difference exceeds the tolerance, or a score is not finite.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = reference(*inputs.values()).float().numpy()
    feed = {name: tensor.numpy() for name, tensor in inputs.items()}
    found = np.concatenate(
        [
            session.run(None, {name: array[part] for name, array in feed.items()})[0]
            for part in (slice(0, 1), slice(1, None))
        ]
    )
    largest = _difference("score", expected, found) / max(float(np.ptp(expected)), 1e-6)
    if largest > tolerance:
        raise ExportError(
            f"The ONNX matcher differs from the trained one by {largest:.2g} of the spread of its scores, more than "
            f"export.tolerance {tolerance:g}. It was not written. Export with another export.opset."
        )
    return largest


def _difference(name: str, expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    if expected.shape != found.shape:
        raise ExportError(f"The ONNX model's {name} is {found.shape}, the trained model's {expected.shape}.")
    if not (np.isfinite(expected).all() and np.isfinite(found).all()):
        raise ExportError(
            f"The {name} of a real image is NaN or infinite: the model has diverged. Export an earlier checkpoint."
        )
    difference = np.abs(expected - found)
    if name == "norm":
        difference = difference / np.abs(expected).clip(1e-6)
    return float(difference.max(initial=0.0))
