"""YuNet under onnxruntime: five points per face, from the network's raw outputs.

Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 2023. The network that
comes with OAML has the published graph. Its weights (MIT licence, see NOTICE) were trained further on covered faces by
`benchmarks/detector_training.py`; docs/photos.md says on what.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oaml_core.errors import ModelInputError
from oaml_core.onnx_session import open_session
from oaml_core.photos.detection import Detections, Photo, keep_best, padded_square
from oaml_core.registry import DETECTORS

NETWORK = Path(__file__).with_name("yunet_covered.onnx")
"""The network that comes with OAML."""
STRIDES = (8, 16, 32)
"""Pixels between neighbouring cells of the three output grids."""
SIDE = 640
"""Side of the network's fixed input, in pixels."""
SCORE = 0.3
"""Lowest score of what is reported at all; `FaceFinder` asks for more, or looks again."""
HABIT = np.array([[-0.92, 0.82], [-0.39, 1.01], [-0.91, 1.03], [-1.16, -4.12], [0.20, -3.73]])
"""Mean of the points found in 400 faces that other landmarks (MTCNN) had aligned, less the template: pixels of the
112 × 112 crop. The mouth's corners are found four pixels higher than the template has them."""


@DETECTORS.register("yunet")
class YuNet:
    """The detector that comes with OAML; memory does not grow with the photograph's size.

    Args:
        path: of the network.
        score: lowest score in [0, 1] of a face that is reported.
        threads: threads inside an operator; 0: onnxruntime's choice.

    Raises:
        ModelInputError: the file is missing or not a YuNet.
    """

    def __init__(self, path: str | Path = NETWORK, score: float = SCORE, threads: int = 1) -> None:
        try:
            self._session = open_session(path, threads)
        except Exception as error:  # onnxruntime's own exception types share no base below Exception
            raise ModelInputError(f"{path} cannot be loaded as a face detector: {error}") from error
        self._names = [f"{kind}_{stride}" for stride in STRIDES for kind in ("cls", "obj", "bbox", "kps")]
        missing = set(self._names) - {output.name for output in self._session.get_outputs()}
        if missing:
            raise ModelInputError(f"{path} is not a YuNet: it has no output {min(missing)}.")
        self.knows_cover = Path(path) == NETWORK
        """True if the network was trained on covered faces."""
        self._input = self._session.get_inputs()[0].name
        self.score = score

    @property
    def tile(self) -> int:
        """Side in pixels of the largest image that `detect` looks at in one go."""
        return SIDE

    @property
    def habit(self) -> NDArray[np.float64]:
        """Mean offset [5, 2] of the points from the template in aligned 112 × 112 crops, in pixels."""
        return HABIT

    def detect(self, photo: Photo) -> Detections:
        """Find the faces of a picture of at most 640 × 640 pixels; smaller ones are padded with black.

        Args:
            photo: uint8 [H, W, 3] RGB.

        Returns:
            Faces in the pixels of `photo`, surest first.

        Raises:
            ModelInputError: the picture is larger, or not uint8 [H, W, 3].
        """
        values = self._session.run(self._names, {self._input: _network_input(photo)})
        return self._faces(dict(zip(self._names, values, strict=True)))

    def _faces(self, outputs: dict[str, NDArray[np.float32]]) -> Detections:
        return keep_best(Detections.joined([self._decoded(outputs, stride) for stride in STRIDES]))

    def _decoded(self, outputs: dict[str, NDArray[np.float32]], stride: int) -> Detections:
        """Return faces of one grid, before suppression.

        With s = stride and a cell in column c and row r: score = √(cls · obj); centre = ((c + b₀) s, (r + b₁) s);
        size = (exp(b₂) s, exp(b₃) s); point k = ((c + p₂ₖ) s, (r + p₂ₖ₊₁) s).
        """
        cls, obj, bbox, kps = (outputs[f"{kind}_{stride}"][0] for kind in ("cls", "obj", "bbox", "kps"))
        scores = np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1)).astype(np.float64)
        cells = np.flatnonzero(scores >= self.score)
        row, column = np.divmod(cells, SIDE // stride)
        origin = np.stack([column, row], axis=1).astype(np.float64)
        centre = (origin + bbox[cells, :2]) * stride
        half = np.exp(bbox[cells, 2:].astype(np.float64)) * stride / 2
        points = (origin[:, None] + kps[cells].reshape(-1, 5, 2)) * stride
        found = scores[cells]
        boxes = np.concatenate([centre - half, centre + half], axis=1)
        return Detections(boxes, points, found, np.repeat(found[:, None], 5, axis=1))


def _network_input(photo: Photo) -> NDArray[np.float32]:
    """Return a picture as the network takes it: [1, 3, 640, 640], blue first, 0 to 255, padded with black.

    Args:
        photo: uint8 [H, W, 3] RGB, at most 640 × 640.

    Raises:
        ModelInputError: the picture is larger, or not uint8 [H, W, 3].
    """
    canvas = padded_square(photo, SIDE)[..., ::-1].transpose(2, 0, 1)
    return np.ascontiguousarray(canvas[None], dtype=np.float32)
