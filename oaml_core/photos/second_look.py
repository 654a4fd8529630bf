"""A second look at a face: turned upright and brought to one size, so that its points are found where they are.

The search sees a face small, turned and at a coarse level, and its points are off by a fifth of the distance of the
eyes. Seen upright at a side of `FACE` pixels, and once more mirrored, they are off by less than half of that. A place
that looked doubtful is told from a face by the score of the second look.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from oaml_core.photos.alignment import align_points, cut_out, template
from oaml_core.photos.detection import Detections, Detector, Floats, Photo

FACE = 320
"""Side in pixels of the template in the crop of the second look; the crop is twice as wide, or a tile."""
ROUNDS = 2
"""Crops one after the other, each by the points found in the one before."""
NEAR = 0.15
"""Largest root mean square distance, as a share of `FACE`, of points that are of the same face."""
MIRRORED = [1, 0, 2, 4, 3]
"""Number of each point in a mirrored picture."""


def second_look(photo: Photo, found: Detections, row: int, detector: Detector) -> Detections:
    """Look at one face of a photograph again, upright and larger.

    Args:
        photo: uint8 [H, W, 3] RGB.
        found: what the search found in it.
        row: number of the face in `found`.
        detector: the one that found it.

    Returns:
        The one face, in the photograph's pixels: points are means over the crop and its mirror image, the score too,
        0 for one in which the face is not seen. Without a face in either the face as it was found, at score 0.
    """
    face = found.rows(np.array([row]))
    for round_number in range(ROUNDS):
        seen = _looks(photo, face.points[0], detector, mirrored=round_number == ROUNDS - 1)
        if not any(len(one) for one in seen):
            return replace(face, scores=np.zeros(1))
        both = Detections.joined([one for one in seen if len(one)])
        face = Detections(
            both.boxes.mean(0, keepdims=True),
            both.points.mean(0, keepdims=True),
            np.array([both.scores.sum() / len(seen)]),
            both.point_confidence.mean(0, keepdims=True),
        )
    return face


def _looks(photo: Photo, points: Floats, detector: Detector, mirrored: bool) -> list[Detections]:
    """Find the face in its upright crop, and in the mirrored crop if asked; none or one face each."""
    side = min(2 * FACE, detector.tile)
    size, margin = side // 2, side // 4
    matrix = align_points(points, habit=detector.habit).matrix * (size / 112)
    matrix[:, 2] += margin
    crop = cut_out(photo, matrix, side)
    expected = template(size) + detector.habit * size / 112 + margin
    upright = _nearest(detector.detect(crop), expected, NEAR * size)
    seen = [upright]
    if mirrored:
        seen.append(
            _nearest(_turned(detector.detect(np.ascontiguousarray(crop[:, ::-1])), side), expected, NEAR * size)
        )
    return [_in_photo(one, matrix) for one in seen]


def _turned(found: Detections, side: int) -> Detections:
    """Return the faces of a mirrored picture of that width in the picture's own pixels."""
    points, boxes = found.points[:, MIRRORED].copy(), found.boxes[:, [2, 1, 0, 3]].copy()
    points[..., 0] = side - points[..., 0]
    boxes[:, [0, 2]] = side - boxes[:, [0, 2]]
    return Detections(boxes, points, found.scores, found.point_confidence[:, MIRRORED])


def _nearest(found: Detections, expected: Floats, most: float) -> Detections:
    """Return the face whose points lie nearest to where they are expected; none if that is further than `most`."""
    if not len(found):
        return found
    distance = np.sqrt(((found.points - expected) ** 2).sum(2).mean(1))
    best = int(np.argmin(distance))
    return found.rows(np.array([best] if distance[best] <= most else [], dtype=np.intp))


def _in_photo(found: Detections, matrix: NDArray[np.float64]) -> Detections:
    """Return faces of a crop in the photograph's pixels; boxes keep their middle and size, and stand upright."""
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    scale = float(np.hypot(*back[:, 0]))
    middle = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2 @ back[:, :2].T + back[:, 2]
    half = (found.boxes[:, 2:] - found.boxes[:, :2]) / 2 * scale
    points = found.points @ back[:, :2].T + back[:, 2]
    return Detections(np.hstack([middle - half, middle + half]), points, found.scores, found.point_confidence)
