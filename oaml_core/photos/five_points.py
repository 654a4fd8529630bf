"""A user's own face detector as an ONNX file: SCRFD or RetinaFace, told apart by the shapes of its outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.errors import ModelInputError
from oaml_core.onnx_session import open_session
from oaml_core.photos.detection import Detections, Floats, Photo, keep_best, padded_square

SIDE = 640
"""Side of the picture for networks that take any size, in pixels."""
SCORE = 0.3
"""Lowest score of a face that is reported."""
STRIDES = {3: (8, 16, 32), 5: (8, 16, 32, 64, 128)}
"""Pixels between neighbouring cells, by the number of grids."""
PRIORS = {8: (16, 32), 16: (64, 128), 32: (256, 512)}
"""Sides of RetinaFace's anchors in pixels, by stride."""
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2
BLUE_GREEN_RED_MEAN = (104.0, 117.0, 123.0)


class FivePointOnnx:
    """SCRFD or RetinaFace under onnxruntime; networks with other outputs are refused by name.

    SCRFD (Guo et al., ICLR 2022) has outputs [n, 1], [n, 4] and [n, 10] per stride. With a cell's middle m and stride
    s a box is m − s (b₀, b₁) to m + s (b₂, b₃), and point k is m + s (p₂ₖ, p₂ₖ₊₁). RetinaFace (Deng et al., CVPR 2020)
    has outputs [n, 4], [n, 2] and [n, 10] over all anchors. With an anchor's middle m and side a the centre is
    m + 0.1 a (b₀, b₁), the size a exp(0.2 (b₂, b₃)), and point k is m + 0.1 a (p₂ₖ, p₂ₖ₊₁).

    Args:
        path: network with one input [1, 3, S, S].
        score: lowest score in [0, 1] of a face that is reported.
        threads: threads inside an operator; 0: onnxruntime's choice.

    Raises:
        ModelInputError: the file is missing or unreadable, or is neither of the two.
    """

    def __init__(self, path: str | Path, score: float = SCORE, threads: int = 1) -> None:
        self.path, self.score = Path(path), score
        if not self.path.is_file():
            raise ModelInputError(f"There is no detector {path}.")
        try:
            self._session = open_session(path, threads)
            self._input = self._session.get_inputs()[0]
            outputs = ", ".join(f"{one.name} {one.shape}" for one in self._session.get_outputs())
        except Exception as error:  # onnxruntime's own exception types share no base below Exception
            raise ModelInputError(f"{path} cannot be loaded as a face detector: {error}") from error
        self._side = self._side_of(self._input.shape)
        trial = self._run(np.zeros((self._side, self._side, 3), np.uint8))
        widths = [output.shape[1] for output in trial]
        if widths == [width for width in (1, 4, 10) for _ in range(len(trial) // 3)] and len(trial) // 3 in STRIDES:
            self._scrfd = True
        elif sorted(widths) == [2, 4, 10]:
            self._scrfd = False
        else:
            raise ModelInputError(
                f"{path} is no detector with five points: its outputs are {outputs}. SCRFD has scores [n, 1], boxes "
                "[n, 4] and points [n, 10] per stride, RetinaFace one each of [n, 4], [n, 2] and [n, 10]; another "
                "network needs a class of its own (docs/photos.md)."
            )
        self._decoded(trial)

    @property
    def tile(self) -> int:
        """Side in pixels of the largest image that `detect` looks at in one go."""
        return self._side

    @property
    def habit(self) -> NDArray[np.float64]:
        """Return zeros [5, 2]: both families were trained on points like those of the template."""
        return np.zeros((5, 2))

    def detect(self, photo: Photo) -> Detections:
        """Find the faces of a picture of at most `tile` pixels per side; smaller ones are padded with black.

        Args:
            photo: uint8 [H, W, 3] RGB.

        Returns:
            Faces in the pixels of `photo`, surest first.

        Raises:
            ModelInputError: the picture is larger, or not uint8 [H, W, 3].
        """
        canvas = padded_square(photo, self._side)
        return keep_best(self._decoded(self._run(canvas)))

    def _side_of(self, shape: list[Any]) -> int:
        sides = [side for side in shape[2:] if isinstance(side, int)] if len(shape) == 4 else [0]
        if len(shape) != 4 or (shape[1] not in (3, None) and isinstance(shape[1], int)) or len(set(sides)) > 1:
            raise ModelInputError(f"{self.path} takes {self._input.name} {shape}; a detector takes [1, 3, S, S].")
        return int(sides[0]) if sides else SIDE

    def _run(self, canvas: Photo) -> list[Floats]:
        """Return the outputs as [n, width]; pixels as both families expect them are tried by the outputs' number."""
        few = len(self._session.get_outputs()) == 3
        mean = np.array(BLUE_GREEN_RED_MEAN if few else (127.5, 127.5, 127.5))
        values = ((canvas[..., ::-1] if few else canvas) - mean) / (1.0 if few else 128.0)
        picture = np.ascontiguousarray(values.transpose(2, 0, 1)[None], dtype=np.float32)
        try:
            found = self._session.run(None, {self._input.name: picture})
        except Exception as error:
            raise ModelInputError(f"{self.path} does not run on a picture [1, 3, S, S]: {error}") from error
        return [np.asarray(one, np.float64).reshape(-1, one.shape[-1]) if one.ndim else one for one in found]

    def _decoded(self, outputs: list[Floats]) -> Detections:
        return self._of_scrfd(outputs) if self._scrfd else self._of_retinaface(outputs)

    def _of_scrfd(self, outputs: list[Floats]) -> Detections:
        levels = len(outputs) // 3
        parts = []
        for level, stride in enumerate(STRIDES[levels]):
            scores, boxes, points = (outputs[level + kind * levels] for kind in range(3))
            middles = self._middles(stride, len(scores), 0.0)
            chosen = np.flatnonzero(scores[:, 0] >= self.score)
            middle, box = middles[chosen], boxes[chosen] * stride
            parts.append(
                Detections(
                    np.hstack([middle - box[:, :2], middle + box[:, 2:]]),
                    middle[:, None] + points[chosen].reshape(-1, 5, 2) * stride,
                    scores[chosen, 0],
                    np.repeat(scores[chosen], 5, axis=1),
                )
            )
        return Detections.joined(parts)

    def _of_retinaface(self, outputs: list[Floats]) -> Detections:
        boxes, chances, points = (next(one for one in outputs if one.shape[1] == width) for width in (4, 2, 10))
        count = sum(2 * self._grid(stride) ** 2 for stride in PRIORS)
        if len(boxes) != count or np.any(np.abs(chances.sum(1) - 1) > 1e-2):
            raise ModelInputError(
                f"{self.path} has the outputs of a RetinaFace, but {amount(len(boxes), 'place')} instead of "
                f"{count}, or scores "
                "that do not add up to 1. Export it with its softmax, and with anchors of 16 to 512 pixels."
            )
        middle = np.concatenate([self._middles(s, 2 * self._grid(s) ** 2, 0.5) for s in PRIORS])
        side = np.concatenate([np.tile(sides, self._grid(s) ** 2) for s, sides in PRIORS.items()])[:, None]
        chosen = np.flatnonzero(chances[:, 1] >= self.score)
        middle, side, scores = middle[chosen], side[chosen], chances[chosen, 1]
        centre = middle + CENTRE_VARIANCE * side * boxes[chosen, :2]
        half = side * np.exp(SIZE_VARIANCE * boxes[chosen, 2:]) / 2
        placed = middle[:, None] + CENTRE_VARIANCE * side[:, None] * points[chosen].reshape(-1, 5, 2)
        return Detections(
            np.hstack([centre - half, centre + half]), placed, scores, np.repeat(scores[:, None], 5, axis=1)
        )

    def _grid(self, stride: int) -> int:
        """Return the number of cells along a side."""
        return -(-self._side // stride)

    def _middles(self, stride: int, count: int, shift: float) -> Floats:
        """Return the middles [count, 2] of the anchors of a grid, x and y in pixels, row by row."""
        grid = self._grid(stride)
        anchors = count // grid**2
        if anchors < 1 or anchors * grid**2 != count:
            raise ModelInputError(
                f"{self.path} gives {amount(count, 'place')} at stride {stride}; a grid of {grid} × {grid} cells "
                "was expected."
            )
        row, column = np.divmod(np.arange(grid**2), grid)
        return np.repeat((np.stack([column, row], axis=1) + shift) * float(stride), anchors, axis=0)
