"""Aligned faces of photographs: what the recogniser is given, and where it came from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from oaml_core.errors import ModelInputError
from oaml_core.photos.alignment import align_points, cut_out, template_distance
from oaml_core.photos.detection import Detections, Detector, Photo, keep_best
from oaml_core.photos.detectors import DEFAULT, open_detector
from oaml_core.photos.files import load_photo
from oaml_core.photos.photo_face import PhotoFace, as_it_is
from oaml_core.photos.search import find_faces
from oaml_core.photos.second_look import judged_again, second_look

SURE = 0.8
"""Score of the search from which on a place is taken for a face."""
SURE_AGAIN = 0.5
"""Score of `judged_again` from which on a doubtful place is taken for a face, by detectors that know covered faces; of
others the second look's own score is asked to be as high as the search's."""
DOUBTFUL = 60
"""Most places of a photograph below `SURE` that are looked at again, the surest first."""
ON_TEMPLATE = 10.0
"""Largest root mean square distance of five points from the template, in pixels of a 112 × 112 crop, of a face that is
taken for aligned already: the largest among 300 aligned photographs and 60 drawn faces was 9.4."""
SEEN_ALIGNED = 0.4
"""Least score of the search of a face that is taken for aligned already."""
ENOUGH = 80.0
"""Height in pixels of a face that ends the search for the main face of a photograph at the coarsest level."""
Choice = Literal["largest", "central"]


class FaceNotFoundError(ModelInputError):
    """A photograph shows no face."""

    likeliest = 0.0
    """Score of the place that looked most like one, in [0, 1]."""


class FaceFinder:
    """Finds the faces of photographs and aligns them.

    Args:
        detector: any detector with five points, or the name or file of one, which is loaded when it is needed.
        aligned: take every square image for an aligned face, unseen.
        choice: which of several faces is the main one.
        sure: score of the search from which on a place is taken for a face; below it a second look decides.
    """

    def __init__(
        self,
        detector: Detector | str = DEFAULT,
        *,
        aligned: bool = False,
        choice: Choice = "largest",
        sure: float = SURE,
    ) -> None:
        self._detector = detector
        self.aligned, self.choice, self.sure = aligned, choice, sure

    @property
    def detector(self) -> Detector:
        """The detector, loaded when it is first needed."""
        if isinstance(self._detector, str):
            self._detector = open_detector(self._detector)
        return self._detector

    def main_face(self, path: str | Path, size: int = 112) -> PhotoFace:
        """Return the main face of a photograph, aligned.

        Args:
            path: any photograph, or a square image of an aligned face.
            size: side in pixels of the aligned face.

        Raises:
            ModelInputError: the file cannot be read.
            FaceNotFoundError: it shows no face.
        """
        return self.main_face_in(load_photo(path), path, size)

    def main_face_in(self, photo: Photo, name: str | Path, size: int = 112) -> PhotoFace:
        """Return the main face of a photograph in memory, aligned.

        Args:
            photo: uint8 [H, W, 3] RGB.
            name: what messages call it.
            size: side in pixels of the aligned face.

        Raises:
            FaceNotFoundError: it shows no face.
        """
        if self.aligned:
            return as_it_is(photo, name, size)
        found = find_faces(photo, self.detector, enough=ENOUGH, sure=self.sure)
        if self._on_template(found, photo):
            face = as_it_is(photo, name, size)
            known = {"box": found.boxes[0], "points": found.points[0], "habit": self.detector.habit}
            return replace(face, score=float(found.scores[0]), **known)
        sure = found.rows(found.scores >= self.sure)
        if len(sure):
            seen = self._second_look(photo, sure, self._main(sure, photo))
        else:
            sure = self._looked_at_again(photo, found)
            seen = sure.rows(np.array([self._main(sure, photo)] if len(sure) else [], dtype=np.intp))
        if not len(seen):
            doubtful = f" The likeliest place scores {found.scores[0]:.2f} of {self.sure:g}." if len(found) else ""
            refusal = FaceNotFoundError(
                f"No face was found in {name}.{doubtful} Take a photograph that stands upright and shows more "
                "of the face.",
                here="If it shows an aligned face, say --aligned.",
            )
            refusal.likeliest = float(found.scores[0]) if len(found) else 0.0
            raise refusal
        return self._aligned_face(photo, seen, 0, size, len(sure))

    def all_faces(self, path: str | Path, size: int = 112) -> list[PhotoFace]:
        """Return all faces of a photograph, aligned, surest first; an empty list if there is none.

        Args:
            path: any photograph.
            size: side in pixels of the aligned faces.

        Raises:
            ModelInputError: the file cannot be read.
        """
        return self.all_faces_in(load_photo(path), size)

    def all_faces_in(self, photo: Photo, size: int = 112) -> list[PhotoFace]:
        """Return all faces of a photograph in memory, uint8 [H, W, 3] RGB, as `all_faces` does."""
        found = find_faces(photo, self.detector)
        sure = found.rows(found.scores >= self.sure)
        seen = [self._second_look(photo, sure, row) for row in range(len(sure))]
        seen.append(self._looked_at_again(photo, found.rows(found.scores < self.sure)))
        faces = keep_best(Detections.joined(seen))
        return [self._aligned_face(photo, faces, row, size, len(faces)) for row in range(len(faces))]

    def _second_look(self, photo: Photo, sure: Detections, row: int) -> Detections:
        """Look at a face that the search is sure of again; the better of both scores stands."""
        again = second_look(photo, sure, row, self.detector)
        return replace(again, scores=np.maximum(again.scores, sure.scores[row]))

    def _looked_at_again(self, photo: Photo, doubtful: Detections) -> Detections:
        """Return the doubtful places that a second look is sure of, as it sees them."""
        knows_cover = getattr(self.detector, "knows_cover", False)
        look, sure = (judged_again, SURE_AGAIN) if knows_cover else (second_look, self.sure)
        looks = [look(photo, doubtful, row, self.detector) for row in range(min(DOUBTFUL, len(doubtful)))]
        seen = Detections.joined(looks)
        return keep_best(seen.rows(seen.scores >= sure))

    def _aligned_face(self, photo: Photo, seen: Detections, row: int, size: int, faces: int) -> PhotoFace:
        """Cut out a face by its points.

        Args:
            photo: uint8 [H, W, 3] RGB.
            seen: as the second look saw them.
            row: which of them.
            size: side in pixels of the aligned face.
            faces: how many the photograph shows.
        """
        habit = self.detector.habit
        points = seen.points[row]
        alignment = align_points(points, seen.point_confidence[row], size, habit)
        image = cut_out(photo, alignment.matrix, size)
        return PhotoFace(image, photo, seen.boxes[row], points, float(seen.scores[row]), alignment, faces, habit)

    def _on_template(self, found: Detections, photo: Photo) -> bool:
        """Return True if a square image holds one face, its points where the template has them."""
        height, width = photo.shape[:2]
        if height != width or not len(found) or found.scores[0] < SEEN_ALIGNED:
            return False
        return template_distance(found.points[0], height, self.detector.habit) <= ON_TEMPLATE

    def _main(self, found: Detections, photo: Photo) -> int:
        boxes = found.boxes
        if self.choice == "largest":
            return int(np.argmax(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)))
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        return int(np.argmin(np.linalg.norm(centre - np.array(photo.shape[1::-1]) / 2, axis=1)))
