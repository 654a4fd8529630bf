"""A face of which no more than the eyes is seen is found, at the right place, by a network that stays small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import skimage.data
from PIL import Image

from oaml_core.photos.faces import FaceFinder
from oaml_core.photos.yunet import NETWORK, STRIDES

LARGEST = 300_000
"""Bytes of the network that comes with OAML."""


@pytest.fixture(scope="module")
def portrait() -> tuple[np.ndarray, np.ndarray]:
    """A woman's face in a photograph, and the points that are found when it is not covered."""
    photo = skimage.data.astronaut()
    points = FaceFinder().main_face_in(photo, "portrait").points
    assert points is not None
    return photo, points


def covered(photo: np.ndarray, points: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A cloth over the head that leaves a slit at the eyes, 0.7 of their distance high."""
    made, eyes = photo.copy(), points[:2].mean(0)
    distance = np.hypot(*(points[1] - points[0]))
    row, column = np.mgrid[: photo.shape[0], : photo.shape[1]]
    cloth = (abs(column - eyes[0]) < 2.5 * distance) & (row < eyes[1] + 4 * distance)
    made[cloth & (abs(row - eyes[1]) > 0.35 * distance)] = colour
    return made


@pytest.mark.parametrize(("colour", "side"), [((20, 20, 24), 300), ((150, 40, 60), 512), ((90, 140, 190), 300)])
def test_veiled_face_is_found_by_its_eyes(
    portrait: tuple[np.ndarray, np.ndarray], colour: tuple[int, int, int], side: int
) -> None:
    photo, points = portrait
    veiled = np.asarray(Image.fromarray(covered(photo, points, colour)).resize((side, side), Image.Resampling.LANCZOS))
    face = FaceFinder().main_face_in(veiled, "veiled")
    expected = points * side / 512
    eyes = np.hypot(*(expected[1] - expected[0]))
    assert np.abs(face.points[:2] - expected[:2]).max() < 0.2 * eyes
    assert np.linalg.norm(face.points - expected, axis=1).max() < 0.6 * eyes


def test_whole_and_covered_faces_are_reported_once_each(portrait: tuple[np.ndarray, np.ndarray]) -> None:
    photo, points = portrait
    both = np.concatenate([photo, covered(photo, points, (20, 20, 24))], axis=1)
    left = sorted(face.box[0] for face in FaceFinder().all_faces_in(both))
    assert len(left) == 2
    assert left[0] < 512 < left[1]


@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket", "coins", "text"])
def test_photographs_without_a_face_show_no_covered_one(name: str) -> None:
    photo = getattr(skimage.data, name)()
    photo = np.stack([photo] * 3, axis=-1) if photo.ndim == 2 else np.ascontiguousarray(photo[..., :3])
    assert FaceFinder().all_faces_in(photo) == []


def test_the_network_is_small() -> None:
    assert NETWORK.stat().st_size < LARGEST


def test_torch_module_says_what_the_file_says(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from benchmarks.yunet_module import HEADS, load, save

    network = load(NETWORK)
    with torch.no_grad():
        for value in network.parameters():
            value.mul_(1.01)
    save(network, NETWORK, tmp_path / "saved.onnx", {"made_by": "a test"})
    session = onnxruntime.InferenceSession(str(tmp_path / "saved.onnx"))
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 3, 640, 640)).astype(np.float32)
    names = [f"{kind}_{stride}" for stride in STRIDES for kind in HEADS]
    given = dict(zip(names, session.run(names, {session.get_inputs()[0].name: pixels}), strict=True))
    with torch.no_grad():
        made = [one[0].numpy() for one in network(torch.from_numpy(pixels))]
    for stride, outputs in zip(STRIDES, made, strict=True):
        for kind, part in zip(HEADS, np.split(outputs, np.cumsum(list(HEADS.values()))[:-1], axis=1), strict=True):
            wanted = 1 / (1 + np.exp(-part)) if kind in ("cls", "obj") else part
            assert np.abs(given[f"{kind}_{stride}"][0] - wanted).max() < 1e-4


def test_wanted_scores_lie_on_the_faces_alone() -> None:
    torch = pytest.importorskip("torch")
    from benchmarks.detector_training import cells, loss_of, targets, template_box
    from oaml_core.photos.alignment import TEMPLATE
    from oaml_core.photos.yunet import HABIT

    points = (TEMPLATE + HABIT)[None] * 0.8 + 60
    place, stride = cells(256)
    blind = torch.full((len(place), 16), -9.0)
    wanted, owner, boxes = targets(blind, points, 256)
    assert int((owner == 0).sum()) > 0
    centre = (place * stride)[owner == 0] - boxes[0, :2]
    assert centre.abs().max() < 0.3 * boxes[0, 2:].min()
    assert wanted[owner < 0].max() == 0
    assert wanted[owner == 0].min() > 0.8
    assert boxes[0].numpy() == pytest.approx(template_box(points[0]), rel=1e-5)
    right = blind.clone()
    at, step = place[owner == 0], stride[owner == 0]
    right[owner == 0, 1:3] = boxes[0, :2] / step - at
    right[owner == 0, 3:5] = (boxes[0, 2:] / step).log()
    right[owner == 0, 6:] = (torch.from_numpy(points).float() / step[:, None] - at[:, None]).flatten(1)
    right[owner == 0, 0] = right[owner == 0, 5] = 2.2
    losses = loss_of(right[None], wanted[None], owner[None], boxes, torch.from_numpy(points).float(), 256)
    missed = loss_of(blind[None], wanted[None], owner[None], boxes, torch.from_numpy(points).float(), 256)
    assert losses["boxes"] < 1e-4
    assert losses["points"] < 1e-4
    assert losses["scores"] < 0.1 * missed["scores"]


def test_scenes_show_the_same_faces_covered_and_uncovered() -> None:
    pytest.importorskip("torch")
    from benchmarks.covered_scenes import SceneMaker
    from benchmarks.scene_parts import PastedFace
    from oaml_core.photos.alignment import TEMPLATE, align_points, cut_out
    from oaml_core.photos.yunet import HABIT

    generator = np.random.default_rng(0)
    face = PastedFace(np.full((112, 112, 3), (220, 40, 40), np.uint8), TEMPLATE)
    maker = SceneMaker([face], [generator.integers(0, 90, (300, 400, 3), dtype=np.uint8)], seed=2, side=256)
    scenes = [maker.scene() for _ in range(12)]
    assert {len(scene.points) for scene in scenes} >= {0, 1}
    for scene in scenes:
        assert scene.covered.shape == scene.uncovered.shape == (256, 256, 3)
        for points in scene.points:
            crop = cut_out(scene.uncovered, align_points(points, habit=HABIT).matrix)
            assert crop[40:80, 40:72].reshape(-1, 3).mean(0) == pytest.approx((220, 40, 40), abs=30)
