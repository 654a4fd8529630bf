"""Find faces of which no more than the eyes is seen: a small head on the feature maps of YuNet.

YuNet's own heads want a whole face. The head in `upper_face.onnx` reads the same three feature maps and says per cell
how likely the middle between two eyes lies there, whatever covers the rest, and where the eyes are. It was trained by
`benchmarks/upper_face_training.py`; docs/photos.md says on what. `confirm` looks at a place again: upright, at several
sizes and mirrored, all in one picture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oaml_core.photos.alignment import TEMPLATE, cut_out, similarity
from oaml_core.photos.detection import Detections, Floats, Photo, keep_best
from oaml_core.photos.yunet import HABIT, SIDE, STRIDES, Maps, YuNet

HEAD = Path(__file__).with_name("upper_face.onnx")
SCORE = 0.1
"""Lowest score of a place that is looked at again."""
CLOSEST = 3.0
"""Least distance of two eyes in a picture of the network, in pixels."""
REACH = 4
"""Side of a crop of the second look, in distances of the eyes."""
SIZES = (56, 40, 28)
"""Distances of the eyes in the crops of the second look, in pixels."""
SURE_OF_EYES = 0.5
"""Least mean score of the second look; one place in 39 megapixels of validation photographs without faces had more."""
NEAR = 0.35
"""Greatest distance of a cell from the expected middle of the eyes, in distances of the eyes."""
FACE_BOX = np.array([[16.0, 24.0], [96.0, 24.0], [16.0, 112.0], [96.0, 112.0]])
"""Corners of the face in the 112 × 112 template."""


class UpperFaces:
    """A detector of eyes, for faces that are covered but for them; the interface of `Detector`.

    Args:
        network: installed YuNet whose feature maps are read; None: one of its own is opened.
        score: lowest score in [0, 1] of a place that is reported.
        threads: threads inside an operator; 0: onnxruntime's choice.
        head: ONNX file of the head.

    Raises:
        ModelInputError: the network of YuNet is not installed, or has no such feature maps.
    """

    def __init__(self, network: YuNet | None = None, score: float = SCORE, threads: int = 1, head: Path = HEAD) -> None:
        import onnxruntime

        self._network = network or YuNet(threads=threads)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._head = onnxruntime.InferenceSession(str(head), options, providers=["CPUExecutionProvider"])
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
        """Find the eyes of a picture of at most 640 × 640 pixels; the other points follow from them.

        Args:
            photo: uint8 [H, W, 3] RGB.

        Returns:
            Faces in the pixels of `photo`, surest first; point_confidence is 0 but for the eyes.

        Raises:
            ModelInputError: the picture is larger, or not uint8 [H, W, 3].
        """
        return self.detect_in(self._network.maps(photo))

    def detect_in(self, maps: Maps) -> Detections:
        """Find the eyes of a picture in the feature maps that YuNet made of it; see `detect`."""
        chances, eyes = self._cells(maps)
        chosen = (chances >= self.score) & (np.hypot(*(eyes[:, 1] - eyes[:, 0]).T) >= CLOSEST)
        return keep_best(faces_of(eyes[chosen], chances[chosen]))

    def confirm(self, photo: Photo, found: Detections, row: int) -> Detections:
        """Look at one place again, upright, at the sizes of `SIZES`, and mirrored.

        Args:
            photo: uint8 [H, W, 3] RGB.
            found: places in it.
            row: which of them.

        Returns:
            The one face in the photograph's pixels; its score is the mean over all crops.
        """
        eyes = found.points[row, :2]
        canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
        places, left, top, height = [], 0, 0, 0
        for size in SIZES:
            side = REACH * size
            matrix = eyes_upright(eyes, size)
            crop = cut_out(photo, matrix, side)
            for mirrored in (False, True):
                if left + side > SIDE:
                    left, top, height = 0, top + height, 0
                canvas[top : top + side, left : left + side] = crop[:, ::-1] if mirrored else crop
                places.append((left, top, size, mirrored, matrix))
                left, height = left + side, max(height, side)
        chances, seen = self._cells(self._network.maps(canvas))
        scores, pairs, weights = [], [], []
        for left, top, size, mirrored, matrix in places:
            middle = np.array([left, top]) + REACH * size / 2
            near = np.hypot(*(seen.mean(1) - middle).T) < NEAR * size
            spread = np.hypot(*(seen[:, 1] - seen[:, 0]).T) / size
            near &= (spread > 0.6) & (spread < 1.6)
            best = int(np.argmax(np.where(near, chances, -1.0)))
            scores.append(float(chances[best]) if near[best] else 0.0)
            weights.append(scores[-1] ** 2 + 1e-9)
            pair = seen[best] - (left, top)
            if mirrored:
                pair = np.column_stack([REACH * size - pair[::-1, 0], pair[::-1, 1]])
            back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
            pairs.append(pair @ back[:, :2].T + back[:, 2])
        again = np.average(pairs, axis=0, weights=weights) if max(scores) > 0.1 else eyes
        return faces_of(again[None], np.array([np.mean(scores)]))

    def faces(self, photo: Photo, found: Detections, known: Detections, most: int) -> Detections:
        """Return the covered faces of a photograph of any size.

        Args:
            photo: uint8 [H, W, 3] RGB.
            found: places of eyes in it, as the search found them.
            known: faces that were found otherwise; eyes inside their boxes are not reported again.
            most: greatest number of places that are looked at again, the surest first.

        Returns:
            Faces whose second look scores at least `SURE_OF_EYES`, surest first.
        """
        middle = found.points[:, :2].mean(1)
        boxes = known.boxes
        inside = (middle[:, None] > boxes[None, :, :2]).all(2) & (middle[:, None] < boxes[None, :, 2:]).all(2)
        found = found.rows(~inside.any(1))
        looks = [self.confirm(photo, found, row) for row in range(min(most, len(found)))]
        seen = Detections.joined(looks)
        return keep_best(seen.rows(seen.scores >= SURE_OF_EYES))

    def _cells(self, maps: Maps) -> tuple[Floats, Floats]:
        """Return of all cells of all grids the chance [n] and both eyes [n, 2, 2]."""
        found = self._head.run([f"eyes_{stride}" for stride in STRIDES], maps)
        chances, eyes = [], []
        for stride, cells in zip(STRIDES, found, strict=True):
            grid = cells.shape[2]
            row, column = (np.mgrid[:grid, :grid] + 0.5) * stride
            middle = np.stack([column, row, column, row])
            chances.append(1 / (1 + np.exp(-cells[0, 0].astype(np.float64).ravel())))
            eyes.append((cells[0, 1:] * (2 * stride) + middle).reshape(4, -1).T.reshape(-1, 2, 2))
        return np.concatenate(chances), np.concatenate(eyes).astype(np.float64)


def eyes_upright(eyes: Floats, distance: float) -> Floats:
    """Return the similarity [2, 3] that brings two eyes level, `distance` apart, into the middle of a crop."""
    middle = REACH * distance / 2
    target = np.array([[middle - distance / 2, middle], [middle + distance / 2, middle]])
    return similarity(eyes, target, np.ones(2))


def faces_of(eyes: Floats, scores: Floats) -> Detections:
    """Return faces [n] from their eyes [n, 2, 2]: the other points and the box are where the template has them."""
    boxes, points = np.empty((len(eyes), 4)), np.empty((len(eyes), 5, 2))
    for row, pair in enumerate(eyes):
        matrix = similarity((TEMPLATE + HABIT)[:2], pair, np.ones(2))
        points[row] = (TEMPLATE + HABIT) @ matrix[:, :2].T + matrix[:, 2]
        corners = FACE_BOX @ matrix[:, :2].T + matrix[:, 2]
        boxes[row] = [*corners.min(0), *corners.max(0)]
    seen = np.array([1.0, 1.0, 0.0, 0.0, 0.0])
    return Detections(boxes, points, scores, scores[:, None] * seen)
