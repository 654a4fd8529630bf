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
    """Cosine of the embeddings, image and mirrored image fused, in [-1, 1]."""
    visible_share: float
    """Mean product of both visibilities, in [0, 1]; the lower, the less the score rests on."""
    threshold: float | None
    """Score from which on the pair is accepted at the FAR asked for; None if none was stored for it."""
    same: bool | None
    """The decision; None without a threshold."""


class OamlOnnx:
    """An exported recogniser.

    Args:
        path: `model.onnx`, written by `oaml export`.
        providers: onnxruntime's execution providers; None: CPU.
        threads: threads inside an operator; 0: onnxruntime's choice.

    Raises:
        ExportError: the file is missing, unreadable, or not a model that OAML exported.
    """

    def __init__(self, path: str | Path, providers: list[str] | None = None, threads: int = 0) -> None:
        import onnxruntime

        if not Path(path).is_file():
            raise ExportError(f"{path} does not exist; `oaml export` writes the model.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=providers or ["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own exception types share no base below Exception
            raise ExportError(f"{path} cannot be loaded by onnxruntime: {error}") from error
        properties = self.session.get_modelmeta().custom_metadata_map
        if "oaml" not in properties:
            raise ExportError(f"{path} holds no OAML metadata; export the model with `oaml export`.")
        self.metadata: dict[str, Any] = json.loads(properties["oaml"])
        """What `export_onnx` stored: config, fingerprint, metrics, thresholds, licence, preprocessing."""
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
        found = self.embed(np.concatenate([batch, batch[:, :, ::-1]]))
        weighted = found.embedding * found.norm
        fused = weighted[: len(batch)] + weighted[len(batch) :]
        return np.asarray(fused / np.linalg.norm(fused, axis=1, keepdims=True), dtype=np.float32)

    def compare(self, a: Images, b: Images, far: float = 1e-3) -> Comparison:
        """Compare two aligned faces by their embeddings.

        Args:
            a: uint8 [H, W, 3] RGB.
            b: uint8 [H, W, 3] RGB.
            far: false accept rate whose stored threshold decides.

        Raises:
            ModelInputError: see `embed`.
        """
        pair = np.stack([a, b])
        embedding = self.fused_embedding(pair)
        visibility = self.embed(pair).visibility
        score = float(embedding[0] @ embedding[1])
        threshold = self.threshold(far)
        return Comparison(
            score=score,
            visible_share=float((visibility[0] * visibility[1]).mean()),
            threshold=threshold,
            same=None if threshold is None else score >= threshold,
        )

    def threshold(self, far: float) -> float | None:
        """The stored threshold on the global score at this FAR; None if it was not measurable."""
        stored: dict[str, float] = self.metadata.get("thresholds", {})
        return next((value for rate, value in stored.items() if np.isclose(float(rate), far)), None)
