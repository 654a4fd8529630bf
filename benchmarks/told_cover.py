"""A published backbone that is told which places are covered: a combined score without training.

The local vector is the backbone's own embedding of its last feature map, in which covered places hold the mean of the
visible ones. Embedding and local vector are compared by their cosines, which count 0.2 and 0.8, the weights of
`configs/adapt.yaml`. So the shortlist can be measured where no adapted model is at hand; how well such a score
recognises people is no figure of OAML's models, which have to find the cover themselves.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.utils import Extractor

from oaml_core.inference.comparer import GlobalOnly
from oaml_core.inference.records import FaceRecords, Floats, Scores

GLOBAL_WEIGHT, LOCAL_WEIGHT = 0.2, 0.8
BATCH = 32


class ToldCover(GlobalOnly):
    """The backbone as a recogniser that is told what is covered.

    Args:
        path: ONNX file: RGB faces [N, 3, 112, 112] from 0 to 255 in, embeddings [N, E] out. One depthwise convolution
            over the whole map makes the embedding of it.
    """

    image_size = 112

    def __init__(self, path: Path) -> None:
        import openvino

        graph = onnx.shape_inference.infer_shapes(onnx.load(path))
        into, out = graph.graph.input[0].name, graph.graph.output[0].name
        features = _pooled_map(graph)
        extractor, core = Extractor(graph), openvino.Core()
        self._body, self._head = (
            core.compile_model(core.read_model(part.SerializeToString()), "CPU", {"INFERENCE_NUM_THREADS": 1})
            for part in (extractor.extract_model([into], [features]), extractor.extract_model([features], [out]))
        )
        self.version = hashlib.sha256(path.read_bytes()).hexdigest()[:16]

    def records(self, images: NDArray[np.uint8]) -> FaceRecords:
        """Describe uncovered faces [n, 112, 112, 3]."""
        return self.told(images, np.ones(images.shape[:3], np.float32))

    def told(self, images: NDArray[np.uint8], visible: Floats) -> FaceRecords:
        """Describe faces [n, 112, 112, 3] whose visible pixels are known, [n, 112, 112], 1 = visible."""
        batches = [slice(row, row + BATCH) for row in range(0, len(images), BATCH)]
        parts = [self._told(images[rows], visible[rows]) for rows in batches]
        return FaceRecords(*map(np.concatenate, zip(*parts, strict=True)))

    def scores(self, probe: FaceRecords, gallery: FaceRecords) -> Scores:
        """Return scores of n pairs; a single probe is compared with every face of the gallery."""
        found = super().scores(probe, gallery)
        local = (probe.local_embedding * gallery.local_embedding).sum(1, dtype=np.float64)
        combined = GLOBAL_WEIGHT * found.global_score + LOCAL_WEIGHT * local
        return found._replace(local_score=local, combined_score=combined)

    def _told(self, images: NDArray[np.uint8], visible: Floats) -> tuple[Floats, ...]:
        batch = np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32)
        features: Floats = self._body(batch)[0]
        places = places_of(visible, features.shape[-1])
        vectors = [_unit(self._head(one)[0]) for one in (features, filled(features, places))]
        none, unknown = (
            np.zeros((len(batch), 0, *places.shape[2:]), np.float32),
            np.full(len(batch), np.nan, np.float32),
        )
        return vectors[0], places, none, unknown, vectors[1]


def places_of(visible: Floats, side: int) -> Floats:
    """Return the visible share [n, 1, side, side] of each place of pixels [n, H, W]."""
    n, size = visible.shape[0], visible.shape[1] // side
    return visible.reshape(n, side, size, side, size).mean((2, 4), dtype=np.float32)[:, None]


def filled(features: Floats, places: Floats) -> Floats:
    """Return maps whose covered places hold the mean of the visible ones.

    Args:
        features: maps [n, C, h, w].
        places: visible shares [n, 1, h, w].
    """
    seen = np.maximum(places.sum((2, 3), keepdims=True), 1e-6)
    mean = (features * places).sum((2, 3), keepdims=True) / seen
    return np.asarray(features * places + mean * (1 - places), dtype=np.float32)


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def _pooled_map(graph: onnx.ModelProto) -> str:
    """Return the name of the map that the last convolution takes."""
    return str([node for node in graph.graph.node if node.op_type == "Conv"][-1].input[0])
