"""A second look finds the points of a turned, scaled face where they are, and tells a face from what is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import skimage.data
from PIL import Image

from oaml_core.photos.detection import Detections
from oaml_core.photos.faces import FaceFinder
from oaml_core.photos.search import find_faces
from oaml_core.photos.second_look import second_look
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

    def counted(photo: np.ndarray, found: Detections, row: int, detector: YuNet) -> Detections:
        looked.append(row)
        again = second_look(photo, found, row, detector)
        return replace(again, scores=np.maximum(again.scores, 0.99) if again.scores[0] > 0.8 else again.scores)

    monkeypatch.setattr("oaml_core.photos.faces.second_look", counted)
    finder, photo = FaceFinder(sure=sure), skimage.data.astronaut()
    places = len(find_faces(photo, finder.detector))
    assert len(finder.all_faces_in(photo)) == 1
    assert sorted(looked) in (list(range(places)), sorted([0, *range(places - 1)]))
    looked.clear()
    assert finder.main_face_in(photo, "portrait").score >= sure
    assert len(looked) == len(set(looked))
