"""A second look finds the points of a turned, scaled face where they are, and tells a face from what is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import skimage.data
from PIL import Image

from oaml_core.photos.alignment import TEMPLATE, template
from oaml_core.photos.detection import Detections
from oaml_core.photos.faces import FaceFinder, FaceNotFoundError
from oaml_core.photos.search import find_faces
from oaml_core.photos.second_look import SIZES, TILE, WIDTH, judged_again, second_look
from oaml_core.photos.yunet import YuNet

FACE = (slice(0, 230), slice(110, 330))


def turned(photo: np.ndarray, degrees: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """A photograph turned about its middle and scaled on a canvas of 640 pixels, and the matrix [2, 3] to it."""
    angle = np.radians(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = np.array([320, 320]) - turn @ (np.array(photo.shape[1::-1]) / 2)
    back = np.linalg.inv(np.vstack([np.column_stack([turn, shift]), [0, 0, 1]]))[:2].ravel()
    made = Image.fromarray(photo).transform((640, 640), Image.Transform.AFFINE, tuple(back), Image.Resampling.BICUBIC)
    return np.asarray(made), np.column_stack([turn, shift])


@pytest.mark.parametrize(("degrees", "scale"), [(25, 1.0), (-25, 1.3), (15, 0.5)])
def test_points_are_those_of_the_upright_face(degrees: float, scale: float) -> None:
    face, detector = skimage.data.astronaut()[FACE], YuNet()
    upright = second_look(face, find_faces(face, detector), 0, detector)
    photo, matrix = turned(face, degrees, scale)
    found = find_faces(photo, detector)
    again = second_look(photo, found, 0, detector)
    expected = upright.points[0] @ matrix[:, :2].T + matrix[:, 2]
    eyes = np.linalg.norm(expected[0] - expected[1])
    errors = [np.sqrt(((one.points[0] - expected) ** 2).sum(1).mean()) / eyes for one in (found, again)]
    assert errors[1] < 0.08
    assert errors[1] <= errors[0] + 0.01
    assert again.scores[0] > 0.8
    assert again.boxes[0, 0] < expected[:, 0].min() < expected[:, 0].max() < again.boxes[0, 2]


def test_a_place_without_a_face_gets_no_score() -> None:
    photo, detector = skimage.data.coffee(), YuNet()
    points = np.array([[200, 150], [260, 150], [230, 180], [205, 210], [255, 210]], dtype=float)
    claimed = Detections(np.array([[180.0, 110, 280, 240]]), points[None], np.array([0.7]), np.full((1, 5), 0.7))
    assert second_look(photo, claimed, 0, detector).scores[0] == 0


@pytest.mark.parametrize("sure", [0.8, 0.95])
def test_each_face_is_looked_at_a_second_time_once(monkeypatch: pytest.MonkeyPatch, sure: float) -> None:
    """Whether the search was sure of the face (0.93) or the second look had to decide."""
    looked: list[int] = []

    def counting(look: Callable[..., Detections]) -> Callable[..., Detections]:
        def counted(photo: np.ndarray, found: Detections, row: int, detector: YuNet) -> Detections:
            looked.append(row)
            again = look(photo, found, row, detector)
            return replace(again, scores=np.maximum(again.scores, 0.99) if again.scores[0] > 0.8 else again.scores)

        return counted

    monkeypatch.setattr("oaml_core.photos.faces.second_look", counting(second_look))
    monkeypatch.setattr("oaml_core.photos.faces.judged_again", counting(judged_again))
    finder, photo = FaceFinder(sure=sure), skimage.data.astronaut()
    places = len(find_faces(photo, finder.detector))
    assert len(finder.all_faces_in(photo)) == 1
    assert sorted(looked) in (list(range(places)), sorted([0, *range(places - 1)]))
    looked.clear()
    assert finder.main_face_in(photo, "portrait").score >= sure
    assert len(looked) == len(set(looked))


class Scripted:
    """A detector that sees one face in a photograph of 640 × 480, and given scores in the crops of a second look."""

    tile, habit, knows_cover = TILE, np.zeros((5, 2)), True
    place = TEMPLATE * 0.5 + np.array([300.0, 200.0])

    def __init__(self, search: float, *, larger: float, smaller: float) -> None:
        self._search, self._crops = search, dict(zip(sorted(SIZES, reverse=True), (larger, smaller), strict=True))

    def detect(self, photo: np.ndarray) -> Detections:
        if photo.shape == (480, 640, 3):  # the finest level of the search: the photograph itself
            return Detections.none()
        if photo.shape == (TILE, TILE, 3):  # the coarser level: half the photograph's size, in the middle of a tile
            return _seen([(self.place * 0.5 + np.array([160.0, 200.0]), self._search)])
        faces, top = [], 0
        for side in SIZES:
            upright = template(side) + (WIDTH - 1) * side / 2
            mirrored = np.column_stack([WIDTH * side - upright[:, 0], upright[:, 1]])[[1, 0, 2, 4, 3]]
            for left, points in ((0, upright), (WIDTH * side, mirrored)):
                faces.append((points + np.array([left, top]), self._crops[side]))
            top += WIDTH * side
        seen = [face for face in faces if face[1] > 0]
        return _seen(seen) if seen else Detections.none()


def _seen(faces: list[tuple[np.ndarray, float]]) -> Detections:
    points = np.array([at for at, _ in faces]).reshape(-1, 5, 2)
    scores = np.array([score for _, score in faces])
    boxes = np.concatenate([points.min(1) - 5, points.max(1) + 5], axis=1)
    return Detections(boxes, points, scores, np.repeat(scores[:, None], 5, axis=1))


def photo_of_none() -> np.ndarray:
    return np.full((480, 640, 3), 90, np.uint8)


def test_a_slit_that_is_a_face_at_the_smaller_size_alone_is_found() -> None:
    face = FaceFinder(Scripted(0.7, larger=0.0, smaller=0.8)).main_face_in(photo_of_none(), "veiled")
    assert face.score == pytest.approx((0.7 + 0.8) / 2)
    assert np.abs(face.points - Scripted.place).max() < 0.5
    assert len(FaceFinder(Scripted(0.7, larger=0.0, smaller=0.8)).all_faces_in(photo_of_none())) == 1


@pytest.mark.parametrize(("larger", "smaller"), [(0.9, 0.1), (0.9, 0.0), (0.0, 0.0)])
def test_what_is_a_face_at_the_larger_size_alone_is_none(larger: float, smaller: float) -> None:
    detector = Scripted(0.75, larger=larger, smaller=smaller)
    assert FaceFinder(detector).all_faces_in(photo_of_none()) == []


def test_a_detector_that_does_not_know_cover_must_be_as_sure_again() -> None:
    detector = Scripted(0.7, larger=0.8, smaller=0.9)
    detector.knows_cover = False
    found = FaceFinder(detector).all_faces_in(photo_of_none())
    assert [face.score for face in found] == [pytest.approx(0.85)]
    assert FaceFinder(detector, sure=0.9).all_faces_in(photo_of_none()) == []


def test_a_weak_place_where_the_template_has_its_points_is_no_aligned_face() -> None:
    class Weak(Scripted):
        def detect(self, photo: np.ndarray) -> Detections:
            """See one face at score 0.35 where an aligned one has its points, and none in a second look."""
            inside = photo.shape[0] == photo.shape[1] == TILE
            return _seen([(template(112) + 264.0, 0.35)]) if inside else Detections.none()

    with pytest.raises(FaceNotFoundError, match=r"scores 0\.35"):
        FaceFinder(Weak(0.35, larger=0.0, smaller=0.0)).main_face_in(np.full((112, 112, 3), 90, np.uint8), "square")
