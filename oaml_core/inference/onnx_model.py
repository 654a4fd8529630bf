"""Run an exported recogniser with onnxruntime, or OpenVINO, and numpy alone; torch is never imported.

recogniser = OamlOnnx("model.onnx")  # backend="auto": by the fastest that agrees with onnxruntime
comparison = recogniser.compare(load_face("a.jpg"), load_face("b.jpg"), far=1e-3)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.errors import ConfigError, ExportError, ModelInputError
from oaml_core.inference.backends import (
    Backend,
    Feeds,
    OnnxRuntime,
    Runtime,
    TrialInput,
    check_backend,
    open_runtime,
    trial_images,
)
from oaml_core.inference.combining import CombinedRule, combined_scores_of, line_of
from oaml_core.inference.decision import Comparison
from oaml_core.inference.fused_scores import with_fusion
from oaml_core.inference.fusion import Fusion
from oaml_core.inference.model_files import matcher_path
from oaml_core.inference.model_metadata import read_model_metadata
from oaml_core.inference.onnx_outputs import OnnxFeatures, outputs_of
from oaml_core.inference.records import FaceRecords, Floats, Scores
from oaml_core.inference.trial import KEY, TrialFaces, distance, read_trial, thinned

Images = NDArray[np.uint8]

BATCH = 32
"""Faces in a pass: more are slower on a CPU and take memory."""
NEEDED = ("image_size", "preprocessing", "thresholds")
"""Keys of the metadata without which a model cannot be used."""


class OamlOnnx:
    """An exported recogniser: describes aligned faces as records, and compares records.

    Args:
        path: `model.onnx`, written by `oaml export`. Local and combined scores are there too if it has a
            `local_embedding`, or if `model.matcher.onnx` lies beside it.
        providers: onnxruntime's execution providers; None: CPU. Others leave no choice of backend.
        threads: threads inside an operator; 0: the backend's choice.
        matcher: the matcher's file; None: the one beside the model, if there is one. A model with a
            `local_embedding` needs none.
        backend: what runs the model, see `oaml_core.inference.backends`; the matcher is always run in float32.

    Raises:
        ExportError: the file is missing, unreadable, or not a model that OAML exported.
        ConfigError: the backend does not exist, is not installed, or cannot take the providers.

    Example:
        >>> import numpy as np
        >>> import oaml_core as oaml
        >>> model = oaml.OamlOnnx("model.onnx")
        >>> faces = np.stack([oaml.load_face("a.png"), oaml.load_face("b.png")])
        >>> model.records(faces).embedding.shape
        (2, 32)
    """

    def __init__(
        self,
        path: str | Path,
        providers: list[str] | None = None,
        threads: int = 0,
        *,
        matcher: str | Path | None = None,
        backend: Backend = "onnxruntime",
    ) -> None:
        path = Path(path)
        check_backend(backend)
        if providers is not None and backend == "openvino":
            raise ConfigError("providers are onnxruntime's; leave them out, or choose the backend onnxruntime.")
        chosen: Backend = "onnxruntime" if providers is not None else backend
        reference = OnnxRuntime(path, providers, threads)
        if "oaml" not in reference.metadata:
            raise ExportError(f"{path} holds no OAML metadata; export the model with `oaml export`.")
        self.metadata = read_model_metadata(reference.metadata["oaml"], path, NEEDED)
        """What `export_onnx` stored: config, fingerprint, metrics, thresholds, licence, preprocessing."""
        fusion = self.metadata.get("fusion")
        self.fusion = None if fusion is None else Fusion.stored(fusion)
        """How the evidence of a pair is weighed; None: the model was evaluated on too few people, or before."""
        self.line: dict[str, float] | None = self.metadata.get("local_score")
        """`scale` and `shift` that make the local score of a cosine of local embeddings; None: the matcher's graph
        does."""
        self.rule = CombinedRule.in_model(self.metadata)
        """How global and local score are combined; None: the model came without metrics."""
        self.outputs = outputs_of(self.metadata)
        beside = matcher_path(path)
        wanted = beside if matcher is None else Path(matcher)
        self._files, self._trial_text = [path], reference.metadata.get(KEY)
        self._input = reference.inputs[0]
        self.input_tensors, self.output_tensors = reference.input_tensors, reference.output_tensors
        """Tensors of the graph itself, which `infer` takes and gives."""
        self.runtime: Runtime = open_runtime(path, chosen, self._trial, threads=threads, reference=reference)
        self.matcher: Runtime | None = None
        if self.line is None and (matcher is not None or beside.is_file()):
            self.matcher = open_runtime(
                wanted,
                chosen,
                self._matcher_trial,
                threads=threads,
                reference=OnnxRuntime(wanted, providers, threads),
                precisions=["f32"],
            )
        if self.matcher is not None:
            self._files.append(wanted)

    @cached_property
    def version(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of model and matcher. Records of different versions do not
        compare."""
        digest = hashlib.sha256()
        for file in self._files:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()[:16]

    @cached_property
    def trial(self) -> TrialFaces | None:
        """Drawn faces with float32's answers; None: the model was exported before there were any.

        Raises:
            ExportError: they are damaged.
        """
        return None if self._trial_text is None else read_trial(self._trial_text, self._files[0], self.image_size)

    def distance_to_float32(self) -> float | None:
        """Return |x − y| / |y| of the embeddings x of the trial faces and of float32's y; None without a trial."""
        if self.trial is None or "embedding" not in self.trial.outputs:
            return None
        found = thinned(self.embed(self.trial.images).embedding)
        exact = self.trial.outputs["embedding"]
        return distance(found, exact) if found.shape == exact.shape else float("inf")

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""
        return int(self.metadata["image_size"])

    @property
    def local_line(self) -> tuple[float, float]:
        """Scale and shift that make the local score of a local cosine; 1 and 0 where the matcher's graph makes it."""
        return line_of(self.metadata)

    @property
    def faces_at_once(self) -> int:
        """Most faces in a pass: `BATCH`, or 1 for graphs that others made for one face."""
        return int(self.metadata.get("faces_at_once", BATCH))

    def embed(self, images: Images) -> OnnxFeatures:
        """Return features of aligned faces.

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
        return OnnxFeatures(*self.infer(self._feeds(batch), self.outputs))

    def infer(self, feeds: Feeds, outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Run the graph itself on n faces, at most `BATCH` at a time.

        Args:
            feeds: arrays by input, of the types and shapes of `input_tensors`.
            outputs: names of `output_tensors`.
        """
        count, step = len(next(iter(feeds.values()))), self.faces_at_once
        parts = [
            self.runtime.run(outputs, {name: value[start : start + step] for name, value in feeds.items()})
            for start in range(0, count, step)
        ]
        return [np.concatenate(each) for each in zip(*parts, strict=True)]

    def fused_embedding(self, images: Images) -> Floats:
        """Return [n, E] unit embeddings of images and mirrored images, weighted by their norms (AdaFace)."""
        return self.records(images).embedding

    def records(self, images: Images) -> FaceRecords:
        """Describe faces by what they are compared with; those of a gallery are computed once.

        Args:
            images: uint8 [n, H, W, 3] RGB, n at least 1, or one image [H, W, 3].

        Raises:
            ModelInputError: see `embed`.
        """
        batch = images[None] if images.ndim == 3 else images
        step = max(1, BATCH // 2)
        parts = [self._record(batch[start : start + step]) for start in range(0, len(batch), step)]
        return FaceRecords(*map(np.concatenate, zip(*parts, strict=True)))

    def scores(self, probe: FaceRecords, gallery: FaceRecords) -> Scores:
        """Return scores of n pairs of faces; a single probe is compared with every face of the gallery.

        Args:
            probe: of n faces, or of one.
            gallery: of n faces.
        """
        global_score = (probe.embedding * gallery.embedding).sum(1, dtype=np.float64)
        local_score = self._local_scores(probe, gallery)
        share = (probe.visibility * gallery.visibility).mean((1, 2, 3), dtype=np.float64)
        combined = combined_scores_of(self.rule, probe, gallery, global_score, local_score)
        plain = Scores(global_score, local_score, combined, share)
        decides = self.metadata.get("decision") == "calibrated"
        return with_fusion(plain, self.fusion, probe, gallery, decides=decides)

    def compare(self, a: Images, b: Images, far: float = 1e-3) -> Comparison:
        """Compare two aligned faces.

        Args:
            a: uint8 [H, W, 3] RGB.
            b: uint8 [H, W, 3] RGB.
            far: false accept rate whose stored threshold decides.

        Raises:
            ModelInputError: see `embed`.
        """
        both = self.records(np.stack([a, b]))
        scores = self.scores(*(both.rows(slice(row, row + 1)) for row in (0, 1)))
        return Comparison.of(scores, self.threshold(far, scores.deciding[0]))

    def threshold(self, far: float, score: str = "global") -> float | None:
        """Return the stored threshold on the `global`, `combined` or `calibrated` score at this FAR; None: not
        measurable.
        """
        return next((value for rate, value in self.thresholds(score).items() if np.isclose(rate, far)), None)

    def thresholds(self, score: str = "global") -> dict[float, float]:
        """Return the stored thresholds on the `global`, `combined` or `calibrated` score by false accept rate."""
        stored: dict[str, float] = self.metadata["thresholds"].get(score, {})
        return {float(rate): value for rate, value in stored.items()}

    def by_visible_share(self, score: str) -> list[dict[str, Any]]:
        """Return TAR and FAR of the evaluation by what a pair shows, see docs/metrics.md; empty if not stored."""
        stored: list[dict[str, Any]] = self.metadata.get("by_visible_share", {}).get(score, [])
        return stored

    def _feeds(self, batch: Images) -> dict[str, NDArray[Any]]:
        if self.metadata["preprocessing"]:
            return {self._input: batch}
        return {self._input: np.ascontiguousarray(batch.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1.0)}

    def _trial(self) -> TrialInput:
        """Return the model's own trial faces with float32's answers; patterns alone if it was exported before."""
        kept = self.trial
        if kept is None or set(kept.outputs) != {one.name for one in self.output_tensors}:
            return TrialInput(self._feeds(trial_images(self.image_size)[: self.faces_at_once]))
        some = slice(self.faces_at_once)
        return TrialInput(self._feeds(kept.images[some]), {name: one[some] for name, one in kept.outputs.items()})

    def _matcher_trial(self) -> TrialInput:
        images = trial_images(self.image_size) if self.trial is None else self.trial.images
        known = self.records(images)
        return TrialInput(_pairs(known, known.rows(slice(None, None, -1)), slice(None)))

    def _record(self, images: Images) -> FaceRecords:
        found = self.embed(np.concatenate([images, images[:, :, ::-1]]))
        n = len(images)
        norm = np.asarray((found.norm[:n] + found.norm[n:]).reshape(-1) / 2, dtype=np.float32)
        return FaceRecords(
            _fused(found.embedding * found.norm),
            found.visibility[:n],
            found.local_features[:n],
            norm,
            _fused(found.local_embedding) if len(found.local_embedding) else found.local_embedding,
        )

    def _local_scores(self, probe: FaceRecords, gallery: FaceRecords) -> NDArray[np.float64] | None:
        """Return scores of n pairs: by one vector per face where the model has it, else by the matcher's graph; None
        without either.
        """
        if self.line is not None:
            cosine = (probe.local_embedding * gallery.local_embedding).sum(1, dtype=np.float64)
            return np.asarray(self.line["scale"] * cosine + self.line["shift"])
        if self.matcher is None:
            return None
        found = np.empty(len(gallery.embedding))
        for start in range(0, len(found), BATCH):
            rows = slice(start, start + BATCH)
            found[rows] = self.matcher.run(["score"], _pairs(probe, gallery, rows))[0]
        return found


def _pairs(probe: FaceRecords, gallery: FaceRecords, rows: slice) -> dict[str, NDArray[Any]]:
    """Return the matcher's inputs for some pairs."""
    n = len(gallery.local_features[rows])
    return {
        "probe": _rows(probe.local_features, rows, n),
        "gallery": gallery.local_features[rows],
        "probe_visibility": _rows(probe.visibility, rows, n),
        "gallery_visibility": gallery.visibility[rows],
    }


def _rows(array: Floats, rows: slice, count: int) -> Floats:
    """Return the rows of `array`, or its only one `count` times."""
    return np.repeat(array, count, axis=0) if len(array) == 1 else array[rows]


def _fused(vectors: Floats) -> Floats:
    """Return unit vectors [n, E] of n images, of theirs and those of their mirror images [2n, E]."""
    n = len(vectors) // 2
    fused = vectors[:n] + vectors[n:]
    return np.asarray(fused / np.linalg.norm(fused, axis=1, keepdims=True), dtype=np.float32)
