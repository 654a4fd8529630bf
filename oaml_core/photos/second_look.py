"""A second look at a face: turned upright and brought to fixed sizes, so that its points are found where they are.

The search sees a face small, turned and at a coarse level, and its points are off by a sixth of the distance of the
eyes. A second look shows the place upright at the sizes of `SIZES`, and mirrored, all in one picture. A place that
looked doubtful is told from a face by what the search and the crops of the smaller size think of it together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from oaml_core.photos.alignment import align_points, cut_out, template
from oaml_core.photos.detection import Detections, Detector, Floats, Photo

SIZES = (144, 80)
"""Sides in pixels of the template in the crops of a second look, for detectors that look at `TILE` pixels at once."""
TILE = 640
WIDTH = 2
"""Width of a crop, in sides of the template."""
ROUNDS = 2
"""Pictures one after the other, each by the points found in the one before."""
NEAR = 0.15
"""Largest root mean square distance, as a share of the template's side, of points that are of the same face."""
MIRRORED = [1, 0, 2, 4, 3]
"""Number of each point in a mirrored picture."""


def second_look(photo: Photo, found: Detections, row: int, detector: Detector) -> Detections:
    """Look at one face of a photograph again, upright.

    Args:
        photo: uint8 [H, W, 3] RGB.
        found: what the search found in it.
        row: number of the face in `found`.
        detector: the one that found it.

    Returns:
        The one face, in the photograph's pixels: points are means over the crops that show it, the score is the mean
        over all, 0 for one in which the face is not seen. Without a face in any the face as it was found, at score 0.
    """
    return _looked_at(photo, found, row, detector)[0]


def judged_again(photo: Photo, found: Detections, row: int, detector: Detector) -> Detections:
    """Look at one doubtful place of a photograph again, upright, and judge whether it is a face.

    The score is the mean of two: the search's, and the mean over all crops of the smaller size, in every round. The
    larger size is left out of it: there heads on coins look most like faces, and slits in veils least.

    Args:
        photo: uint8 [H, W, 3] RGB.
        found: what the search found in it.
        row: number of the place in `found`.
        detector: the one that found it.

    Returns:
        The one face as `second_look` sees it, with the score of this judgement; 0 if no smaller crop shows a face.
    """
    face, scores = _looked_at(photo, found, row, detector)
    again = float(scores[:, int(np.argmin(SIZES))].mean())
    return replace(face, scores=np.array([(float(found.scores[row]) + again) / 2 if again > 0 else 0.0]))


def _looked_at(photo: Photo, found: Detections, row: int, detector: Detector) -> tuple[Detections, Floats]:
    """Return the face as `second_look` does, and the scores [rounds, sizes, 2] of all crops: as it is, mirrored."""
    face, scores = found.rows(np.array([row])), np.zeros((ROUNDS, len(SIZES), 2))
    for number in range(ROUNDS):
        seen = list(_looks(photo, face.points[0], detector))
        if not any(len(one) for one in seen):
            return replace(face, scores=np.zeros(1)), scores
        all_seen = Detections.joined([one for one in seen if len(one)])
        scores[number] = np.reshape([one.scores[0] if len(one) else 0.0 for one in seen], scores.shape[1:])
        face = Detections(
            all_seen.boxes.mean(0, keepdims=True),
            all_seen.points.mean(0, keepdims=True),
            np.array([scores[number].mean()]),
            all_seen.point_confidence.mean(0, keepdims=True),
        )
    return face, scores


def _looks(photo: Photo, points: Floats, detector: Detector) -> Iterator[Detections]:
    """Find the face in upright crops of all sizes and their mirror images; none or one face each."""
    matrix = align_points(points, habit=detector.habit).matrix
    sides = [round(size * detector.tile / TILE) for size in SIZES]
    canvas = np.zeros((WIDTH * sum(sides), 2 * WIDTH * max(sides), 3), np.uint8)
    top = 0
    for side in sides:
        crop = cut_out(photo, _margin(matrix, side), WIDTH * side)
        canvas[top : top + WIDTH * side, : 2 * WIDTH * side] = np.concatenate([crop, crop[:, ::-1]], axis=1)
        top += WIDTH * side
    found, top = detector.detect(canvas), 0
    for side in sides:
        expected = template(side) + detector.habit * side / 112 + (WIDTH - 1) * side / 2
        for left, mirrored in ((0, False), (WIDTH * side, True)):
            inside = found.moved(1.0, -left, -top)
            near = _nearest(_turned(inside, WIDTH * side) if mirrored else inside, expected, NEAR * side)
            yield _in_photo(near, _margin(matrix, side))
        top += WIDTH * side


def _margin(matrix: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return the transform to a crop, of one to the 112 × 112 template."""
    larger = matrix * (side / 112)
    larger[:, 2] += (WIDTH - 1) * side / 2
    return larger


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
