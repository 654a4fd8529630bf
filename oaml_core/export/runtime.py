"""Run an exported recogniser with onnxruntime and numpy alone; torch is never imported.

recogniser = OamlOnnx("model.onnx")
comparison = recogniser.compare(load_face("a.jpg"), load_face("b.jpg"), far=1e-3)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oaml_core.errors import ExportError, ModelInputError

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]

OUTPUTS = ("embedding", "norm", "visibility", "local_features")


class OnnxFeatures(NamedTuple):
    """What the model says about n faces."""

    embedding: Floats
    """[n, E], unit length."""
    norm: Floats
    """[n, 1], length before normalisation; low for faces that are hard to recognise."""
    visibility: Floats
    """[n, 1, h, w], in [0, 1], 1 = visible."""
    local_features: Floats
    """[n, C, h, w], unit length over C."""


@dataclass(frozen=True)
class Comparison:
    """Two faces compared."""

    score: float
    """The score that decides: `combined_score` if there is one, else `global_score`."""
    global_score: float
    """Cosine of the embeddings, image and mirrored image fused, in [-1, 1]."""
    local_score: float | None
    """Matcher's score; None without `model.matcher.onnx`."""
    combined_score: float | None
    """By the rule stored in the model; None without the matcher or without metrics."""
    visible_share: float
    """Mean product of both visibilities, in [0, 1]; the lower, the less the score rests on."""
    threshold: float | None
    """Score from which on the pair is accepted at the FAR asked for; None if none was stored for it."""
    same: bool | None
    """The decision; None without a threshold."""


class OamlOnnx:
    """An exported recogniser.

    Args:
        path: `model.onnx`, written by `oaml export`. If `model.matcher.onnx` lies beside it, local and combined
            scores are there too.
        providers: onnxruntime's execution providers; None: CPU.
        threads: threads inside an operator; 0: onnxruntime's choice.

    Raises:
        ExportError: the file is missing, unreadable, or not a model that OAML exported.
    """

    def __init__(self, path: str | Path, providers: list[str] | None = None, threads: int = 0) -> None:
        path = Path(path)
        self.session = _session(path, providers, threads)
        properties = self.session.get_modelmeta().custom_metadata_map
        if "oaml" not in properties:
            raise ExportError(f"{path} holds no OAML metadata; export the model with `oaml export`.")
        self.metadata: dict[str, Any] = json.loads(properties["oaml"])
        """What `export_onnx` stored: config, fingerprint, metrics, thresholds, licence, preprocessing."""
        matcher = matcher_path(path)
        self.matcher = _session(matcher, providers, threads) if matcher.is_file() else None
        self._input = self.session.get_inputs()[0].name

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""
        return int(self.metadata["image_size"])

    def embed(self, images: Images) -> OnnxFeatures:
        """Features of aligned faces.

        Args:
            images: uint8 [n, H, W, 3] RGB, or one image [H, W, 3].

        Raises:
            ModelInputError: the images are not uint8 or not of the model's size.
        """
        batch = images[None] if images.ndim == 3 else images
        size = self.image_size
        if batch.dtype != np.uint8 or batch.shape[1:] != (size, size, 3):
            raise ModelInputError(
                f"The images are {images.dtype} {images.shape}; the model takes aligned faces, uint8 RGB "
                f"[n, {size}, {size}, 3]."
            )
        if not self.metadata["preprocessing"]:
            batch = np.ascontiguousarray(batch.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1.0)
        return OnnxFeatures(*self.session.run(list(OUTPUTS), {self._input: batch}))

    def fused_embedding(self, images: Images) -> Floats:
        """[n, E] unit embeddings of images and mirrored images, weighted by their norms (AdaFace)."""
        batch = images[None] if images.ndim == 3 else images
        return _fused(self.embed(np.concatenate([batch, batch[:, :, ::-1]])))

    def compare(self, a: Images, b: Images, far: float = 1e-3) -> Comparison:
        """Compare two aligned faces.

        Args:
            a: uint8 [H, W, 3] RGB.
            b: uint8 [H, W, 3] RGB.
            far: false accept rate whose stored threshold decides.

        Raises:
            ModelInputError: see `embed`.
        """
        pair = np.stack([a, b])
        found = self.embed(np.concatenate([pair, pair[:, :, ::-1]]))
        embedding = _fused(found)
        global_score = float(embedding[0] @ embedding[1])
        local_score = self._local_score(found)
        combined = self._combined_score(global_score, local_score)
        score, name = (global_score, "global") if combined is None else (combined, "combined")
        threshold = self.threshold(far, name)
        return Comparison(
            score=score,
            global_score=global_score,
            local_score=local_score,
            combined_score=combined,
            visible_share=float((found.visibility[0] * found.visibility[1]).mean()),
            threshold=threshold,
            same=None if threshold is None else score >= threshold,
        )

    def threshold(self, far: float, score: str = "global") -> float | None:
        """The stored threshold on the `global` or `combined` score at this FAR; None if it was not measurable."""
        stored: dict[str, float] = self.metadata["thresholds"].get(score, {})
        return next((value for rate, value in stored.items() if np.isclose(float(rate), far)), None)

    def _local_score(self, found: OnnxFeatures) -> float | None:
        if self.matcher is None:
            return None
        inputs = {
            "probe": found.local_features[:1],
            "gallery": found.local_features[1:2],
            "probe_visibility": found.visibility[:1],
            "gallery_visibility": found.visibility[1:2],
        }
        return float(self.matcher.run(["score"], inputs)[0][0])

    def _combined_score(self, global_score: float, local_score: float | None) -> float | None:
        rule = self.metadata["combined"]
        if rule is None or local_score is None:
            return None
        n = rule["normalisation"]
        normalised_global = (global_score - n["global_mean"]) / n["global_std"]
        normalised_local = (local_score - n["local_mean"]) / n["local_std"]
        total = rule["global_weight"] + rule["local_weight"]
        return float((rule["global_weight"] * normalised_global + rule["local_weight"] * normalised_local) / total)


def matcher_path(path: Path) -> Path:
    """Where the matcher of `model.onnx` lies: `model.matcher.onnx`."""
    return path.with_suffix(".matcher.onnx")


def _session(path: Path, providers: list[str] | None, threads: int) -> Any:
    import onnxruntime

    if not path.is_file():
        raise ExportError(f"{path} does not exist; `oaml export` writes the model.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers or ["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exception types share no base below Exception
        raise ExportError(f"{path} cannot be loaded by onnxruntime: {error}") from error


def _fused(found: OnnxFeatures) -> Floats:
    """Unit embeddings from the features of n images followed by those of their mirror images."""
    weighted = found.embedding * found.norm
    n = len(weighted) // 2
    fused = weighted[:n] + weighted[n:]
    return np.asarray(fused / np.linalg.norm(fused, axis=1, keepdims=True), dtype=np.float32)
