"""Five points, some of them wrong or covered, bring a face to the template."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data

from oaml_core.errors import ModelInputError
from oaml_core.photos.alignment import TEMPLATE, align_points, cut_out, loose_matrix, similarity, template


def turned(degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    c, s = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    return TEMPLATE @ np.array([[c, -s], [s, c]]).T + shift


@pytest.mark.parametrize("size", [112, 224, (112, 96)])
@pytest.mark.parametrize("degrees", [-30.0, 0.0, 75.0])
def test_points_come_to_the_template(size: int | tuple[int, int], degrees: float) -> None:
    points = turned(degrees, 2.7, (400, -30))
    found = align_points(points, size=size)
    assert found.moved(points) == pytest.approx(template(size), abs=1e-6)
    assert found.error == pytest.approx(0, abs=1e-6)


def test_narrow_template_is_the_middle_of_the_wide_one() -> None:
    assert template((112, 96)) == pytest.approx(TEMPLATE - [8, 0])


@pytest.mark.parametrize("wrong", [(2,), (3, 4), (2, 3, 4), (0, 1)])
def test_covered_points_do_not_count(wrong: tuple[int, ...]) -> None:
    points, visible = turned(12, 1.8, (60, 90)), np.ones(5)
    truth = align_points(points)
    points[list(wrong)] += [25, -40]
    visible[list(wrong)] = 0
    found = align_points(points, visible)
    assert found.matrix == pytest.approx(truth.matrix, abs=1e-6)
    assert len(found.counted) == 5 - len(wrong)


def test_one_wild_point_moves_the_crop_by_less_than_least_squares_does() -> None:
    points = turned(0, 1, (0, 0))
    points[2] += [30, 30]
    found = align_points(points)
    distance = np.linalg.norm(found.moved(TEMPLATE) - TEMPLATE, axis=1).max()
    plain = similarity(points, TEMPLATE, np.ones(5))
    moved = TEMPLATE @ plain[:, :2].T + plain[:, 2]
    assert distance < 0.6 * np.linalg.norm(moved - TEMPLATE, axis=1).max()
    assert "nose" not in found.counted


def test_without_visible_points_the_eyes_decide() -> None:
    found = align_points(turned(5, 2, (9, 9)), np.zeros(5))
    assert found.counted == ("left eye", "right eye")


def test_points_that_make_no_face_are_refused() -> None:
    for points in (np.zeros((5, 2)), np.full((5, 2), np.nan), np.zeros((4, 2))):
        with pytest.raises(ModelInputError):
            align_points(points)


def test_crop_of_the_whole_image_is_the_image() -> None:
    photo = skimage.data.astronaut()
    assert np.array_equal(cut_out(photo, np.array([[1.0, 0, 0], [0, 1, 0]]), 512), photo)


def test_crop_of_a_large_face_has_no_aliases() -> None:
    stripes = np.zeros((1024, 1024, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = cut_out(stripes, np.array([[112 / 1024, 0, 0], [0, 112 / 1024, 0]]))
    assert np.abs(crop.astype(float) - 127.5).max() < 20  # unreduced: 127


def test_crop_beside_the_photograph_is_black() -> None:
    assert cut_out(skimage.data.astronaut(), np.array([[1.0, 0, 5000], [0, 1, 0]])).max() == 0


def test_loose_crop_is_upright_and_shows_more_of_the_head() -> None:
    turn = np.radians(20)
    matrix = 3 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = TEMPLATE @ matrix.T + (200, 100)
    crop = loose_matrix(points, 256)
    at = points @ crop[:, :2].T + crop[:, 2]
    eyes, mouth = at[:2].mean(0), at[3:].mean(0)
    assert at[0, 1] == pytest.approx(at[1, 1], abs=2), "the eyes lie level"
    assert eyes == pytest.approx((128, 128 - 0.1 * (mouth - eyes)[1]), abs=1.5), "a little above the middle"
    reach = max(2 * np.hypot(*(at[1] - at[0])), 1.8 * np.hypot(*(mouth - eyes)))
    assert 2 * reach == pytest.approx(256, rel=1e-6), "the published size"
    with pytest.raises(ModelInputError, match="one place"):
        loose_matrix(np.ones((5, 2)), 256)
