"""Faces of photographs are found at any size and place, and pictures without faces give none."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import skimage.data
from PIL import Image

from oaml_core.errors import ModelInputError
from oaml_core.photos.detection import Detections, keep_best
from oaml_core.photos.faces import SURE_AGAIN, FaceFinder
from oaml_core.photos.search import OVERLAP, find_faces, scales, tiles
from oaml_core.photos.second_look import second_look
from oaml_core.photos.yunet import SIDE, YuNet


@pytest.fixture(scope="module")
def detector() -> YuNet:
    return YuNet()


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    """A woman's face, about 90 × 110 pixels, in a photograph of 512 × 512."""
    return Image.fromarray(skimage.data.astronaut())


def test_face_is_found_in_any_size_of_the_photograph(detector: YuNet, portrait: Image.Image) -> None:
    for side in (128, 512, 1500):
        photo = np.asarray(portrait.resize((side, side), Image.Resampling.LANCZOS))
        found = find_faces(photo, detector)
        assert second_look(photo, found, 0, detector).scores[0] > SURE_AGAIN, side
        left, top, right, bottom = found.boxes[0] * 512 / side
        assert (left, top, right, bottom) == pytest.approx((179, 63, 269, 174), abs=14), side
        eyes = found.points[0, :2] * 512 / side
        assert eyes[0, 0] < eyes[1, 0]
        assert np.all((eyes > [left, top]) & (eyes < [right, bottom]))


def test_small_faces_of_a_large_photograph_are_all_found_once(detector: YuNet, portrait: Image.Image) -> None:
    small = portrait.resize((128, 128), Image.Resampling.LANCZOS)  # faces of about 22 × 28 pixels
    photo = Image.new("RGB", (2400, 1800), (90, 110, 90))
    places = [(100, 100), (1200, 560), (2200, 1600), (530, 900)]
    for place in places:
        photo.paste(small, place)
    sure = FaceFinder(detector).all_faces_in(np.asarray(photo))
    boxes = np.array([face.box for face in sure])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    expected = np.array(places) + np.array([56, 30])
    nearest = np.linalg.norm(centres[:, None] - expected[None], axis=2).min(1)
    assert len(sure) == len(places)
    assert nearest.max() < 8


def test_photographs_without_a_face_give_none(detector: YuNet) -> None:
    for name in ("coffee", "rocket", "chelsea", "brick", "grass", "coins", "text", "hubble_deep_field", "retina"):
        photo = getattr(skimage.data, name)()
        photo = np.stack([photo] * 3, axis=-1) if photo.ndim == 2 else photo[..., :3]
        assert not FaceFinder(detector).all_faces_in(np.ascontiguousarray(photo)), name


@pytest.mark.parametrize("shape", [(480, 640), (3000, 4000), (900, 20_000), (16, 16)])
def test_tiles_and_levels_show_every_face_whole(shape: tuple[int, int]) -> None:
    levels = scales(shape, SIDE, smallest=20)
    assert max(shape) * levels[0] <= SIDE
    assert all(finer <= 2 * coarser for coarser, finer in itertools.pairwise(levels))
    assert levels[-1] <= 1.0
    starts = tiles(round(shape[1] * levels[-1]), SIDE)
    assert all(b - a <= SIDE - OVERLAP for a, b in itertools.pairwise(starts))


def test_of_boxes_on_each_other_the_surest_stays() -> None:
    boxes = np.array([[0, 0, 100, 100], [5, 5, 105, 105], [20, 20, 60, 60], [300, 0, 400, 100]], float)
    found = Detections(boxes, np.zeros((4, 5, 2)), np.array([0.8, 0.9, 0.7, 0.6]), np.ones((4, 5)))
    assert keep_best(found).scores.tolist() == [0.9, 0.6]


def test_what_is_no_detector_is_named(tmp_path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelInputError, match=r"x\.onnx cannot be loaded"):
        YuNet(tmp_path / "x.onnx")


@pytest.mark.parametrize("side", [640, 1200, 4000])
def test_faces_of_twenty_pixels_are_searched_for_at_the_full_scale(side: int) -> None:
    """A veiled face of that size is rarely seen at a coarser one."""
    assert scales((side, side), SIDE, 20.0)[-1] == 1.0
    assert scales((side, side), SIDE, 200.0)[-1] < 0.6
