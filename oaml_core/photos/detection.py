"""What a face detector finds, and the interface that every detector offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from oaml_core.errors import ModelInputError

Photo = NDArray[np.uint8]
"""uint8 [H, W, 3] RGB."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Detections:
    """The n faces of one photograph, in its pixels; x runs to the right and y downwards."""

    boxes: Floats
    """[n, 4]: left, top, right, bottom."""
    points: Floats
    """[n, 5, 2]: eye on the left side of the picture, the other eye, nose, mouth corner on the left, the other."""
    scores: Floats
    """[n], in [0, 1]; the higher, the surer."""
    point_confidence: Floats
    """[n, 5], in [0, 1]; detectors that do not tell points apart repeat the face's score."""

    def __len__(self) -> int:
        return len(self.scores)

    def rows(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> Detections:
        """Return the chosen faces, in the order of `chosen`."""
        return Detections(self.boxes[chosen], self.points[chosen], self.scores[chosen], self.point_confidence[chosen])

    def moved(self, scale: float, left: float, top: float) -> Detections:
        """Return the faces with coordinates multiplied by `scale` and then shifted by (left, top)."""
        shift = np.array([left, top])
        boxes = self.boxes * scale + np.tile(shift, 2)
        return Detections(boxes, self.points * scale + shift, self.scores, self.point_confidence)

    @classmethod
    def none(cls) -> Detections:
        """Return detections of no face."""
        return cls(np.empty((0, 4)), np.empty((0, 5, 2)), np.empty(0), np.empty((0, 5)))

    @classmethod
    def joined(cls, parts: list[Detections]) -> Detections:
        """Return the faces of all parts, one part after another."""
        if not parts:
            return cls.none()
        return cls(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.points for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.point_confidence for part in parts]),
        )


class Detector(Protocol):
    """A face detector with five points: YuNet, or a user's own with the same members."""

    @property
    def tile(self) -> int:
        """Side in pixels of the largest image that `detect` looks at in one go."""
        ...

    @property
    def habit(self) -> Floats:
        """Mean offset [5, 2] of the points from the template in aligned 112 × 112 crops, in pixels."""
        ...

    def detect(self, photo: Photo) -> Detections:
        """Find the faces of a picture.

        Args:
            photo: uint8 [H, W, 3] RGB, H and W at most `tile`.

        Returns:
            Faces in the pixels of `photo`, surest first, each face once.
        """
        ...


def padded_square(photo: Photo, side: int) -> Photo:
    """Return a picture in the upper left corner of a black square.

    Args:
        photo: uint8 [H, W, 3] RGB.
        side: of the square in pixels.

    Raises:
        ModelInputError: the picture is larger, or not uint8 [H, W, 3].
    """
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or max(photo.shape[:2]) > side:
        raise ModelInputError(f"The picture is {photo.dtype} {photo.shape}; it must be uint8 [H, W, 3], ≤ {side}.")
    canvas = np.zeros((side, side, 3), dtype=np.uint8)
    canvas[: photo.shape[0], : photo.shape[1]] = photo
    return canvas


def keep_best(found: Detections, overlap: float = 0.3) -> Detections:
    """Suppress all but the surest of boxes that lie on each other (non-maximum suppression).

    With areas A and B and the area I of their intersection, two boxes are of one face if I / (A + B − I) or
    0.5 · I / min(A, B) exceeds `overlap`: the second is a box inside another.

    Args:
        found: faces in any order.
        overlap: share in (0, 1) from which on two boxes are of one face.

    Returns:
        The faces that are left, surest first.
    """
    order = np.argsort(-found.scores, kind="stable")
    boxes = found.boxes
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    kept: list[int] = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        corner = np.minimum(boxes[best, 2:], boxes[rest, 2:]) - np.maximum(boxes[best, :2], boxes[rest, :2])
        shared = np.prod(np.maximum(corner, 0), axis=1)
        union = np.maximum(areas[best] + areas[rest] - shared, 1e-9)
        inside = 0.5 * shared / np.maximum(np.minimum(areas[best], areas[rest]), 1e-9)
        order = rest[np.maximum(shared / union, inside) <= overlap]
    return found.rows(np.array(kept, dtype=np.intp))
