"""A face of which no more than the eyes is seen is found, at the right place, and nothing is found where none is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from oaml_core.errors import ModelInputError
from oaml_core.photos.faces import FaceFinder
from oaml_core.photos.upper_face import UpperFaces
from oaml_core.photos.yunet import FEATURES, STRIDES, YuNet


@pytest.fixture(scope="module")
def portrait() -> tuple[np.ndarray, np.ndarray]:
    """A woman's face in a photograph, and the points that are found when it is not covered."""
    photo = skimage.data.astronaut()
    return photo, FaceFinder(covered=False).main_face_in(photo, "portrait").points


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
    with pytest.raises(ModelInputError, match="No face was found"):
        FaceFinder(covered=False).main_face_in(veiled, "veiled")
    face = FaceFinder().main_face_in(veiled, "veiled")
    eyes = points[:2] * side / 512
    assert np.abs(face.points[:2] - eyes).max() < 0.2 * np.hypot(*(eyes[1] - eyes[0]))
    assert face.alignment.counted == ("left eye", "right eye")
    assert "by its eyes alone" in str(face)


def test_both_ways_together_report_each_face_once(portrait: tuple[np.ndarray, np.ndarray]) -> None:
    photo, points = portrait
    both = np.concatenate([photo, covered(photo, points, (20, 20, 24))], axis=1)
    left = sorted(face.box[0] for face in FaceFinder().all_faces_in(both))
    assert len(left) == 2
    assert left[0] < 512 < left[1]


@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket", "coins", "text"])
def test_photographs_without_a_face_show_no_eyes(name: str) -> None:
    photo = getattr(skimage.data, name)()
    photo = np.stack([photo] * 3, axis=-1) if photo.ndim == 2 else np.ascontiguousarray(photo[..., :3])
    assert FaceFinder().all_faces_in(photo) == []


def test_saved_head_says_what_the_trained_one_says(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    import onnxruntime

    from benchmarks.upper_face_training import Head, patches, save

    torch.manual_seed(0)
    heads = {stride: Head() for stride in STRIDES}
    save(heads, tmp_path / "head.onnx", {"made_by": "a test"})
    photo = skimage.data.coffee()[:300, :300]
    maps = YuNet().maps(photo)
    given = onnxruntime.InferenceSession(str(tmp_path / "head.onnx")).run(None, maps)
    for name, stride, found in zip(FEATURES, STRIDES, given, strict=True):
        with torch.no_grad():
            wanted = heads[stride](torch.from_numpy(maps[name])).numpy()
            cells = np.array([[0, 0, 0], [0, 3, 2], [0, 0, 640 // stride - 1]])
            alone = heads[stride].at_patches(torch.from_numpy(patches(maps[name].astype(np.float16), cells)).float())
        assert np.abs(found - wanted).max() < 1e-4
        assert np.abs(alone.numpy() - wanted[0, :, cells[:, 1], cells[:, 2]]).max() < 0.05
    assert UpperFaces(head=tmp_path / "head.onnx").detect(photo).points.shape[1:] == (5, 2)
