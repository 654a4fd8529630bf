"""A detector of one's own is chosen by name or file, told by its outputs' shapes, and refused by name otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from oaml_core.errors import ConfigError, ModelInputError
from oaml_core.photos.alignment import TEMPLATE
from oaml_core.photos.detectors import check_detector, open_detector
from oaml_core.photos.faces import FaceFinder
from oaml_core.photos.five_points import FivePointOnnx
from oaml_core.photos.yunet import NETWORK, YuNet
from oaml_core.registry import DETECTORS

SIDE = 128
FACE = TEMPLATE * 0.7 + np.array([20.0, 10.0])
BOX = np.array([30.0, 25.0, 90.0, 95.0])


def network(path: Path, outputs: Mapping[str, NDArray[np.float32]], side: int | str = SIDE) -> Path:
    """A network that gives the same outputs for every picture."""
    nodes = [
        helper.make_node("ReduceMax", ["picture"], ["peak"], keepdims=0),
        helper.make_node("Sub", ["peak", "peak"], ["nothing"]),
    ]
    weights, infos = [], []
    for name, value in outputs.items():
        weights.append(numpy_helper.from_array(value.astype(np.float32), f"{name}_value"))
        nodes.append(helper.make_node("Add", [f"{name}_value", "nothing"], [name]))
        infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape))
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, side, side])
    graph = helper.make_graph(nodes, "detector", [picture], infos, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def scrfd(batched: bool = False, anchors: int = 2) -> dict[str, NDArray[np.float32]]:
    """Outputs of an SCRFD that sees the face at stride 16, in the cell of row 3 and column 4."""
    made: dict[str, NDArray[np.float32]] = {}
    for kind, width in (("score", 1), ("bbox", 4), ("kps", 10)):
        for stride in (8, 16, 32):
            made[f"{kind}_{stride}"] = np.zeros(((SIDE // stride) ** 2 * anchors, width), np.float32)
    row, middle = (3 * 8 + 4) * anchors, np.array([64.0, 48.0])
    made["score_16"][row] = 0.9
    made["bbox_16"][row] = np.concatenate([middle - BOX[:2], BOX[2:] - middle]) / 16
    made["kps_16"][row] = ((FACE - middle) / 16).ravel()
    return {name: value[None] if batched else value for name, value in made.items()}


def retinaface() -> dict[str, NDArray[np.float32]]:
    """Outputs of a RetinaFace that sees the face at stride 16, anchor of 64 pixels, row 3 and column 4."""
    count = sum(2 * (SIDE // stride) ** 2 for stride in (8, 16, 32))
    boxes, chances, points = (np.zeros((1, count, width), np.float32) for width in (4, 2, 10))
    chances[..., 0] = 1
    row, middle = 2 * (SIDE // 8) ** 2 + (3 * 8 + 4) * 2, np.array([72.0, 56.0])
    chances[0, row] = (0.1, 0.9)
    size = BOX[2:] - BOX[:2]
    boxes[0, row] = np.concatenate([(BOX[:2] + size / 2 - middle) / 6.4, np.log(size / 64) / 0.2])
    points[0, row] = ((FACE - middle) / 6.4).ravel()
    return {"loc": boxes, "conf": chances, "landms": points}


@pytest.mark.parametrize(
    "outputs", [scrfd(), scrfd(batched=True), scrfd(anchors=1), retinaface()], ids=["scrfd", "batched", "one", "retina"]
)
def test_boxes_and_points_are_decoded_by_shape(outputs: dict[str, NDArray[np.float32]], tmp_path: Path) -> None:
    detector = open_detector(str(network(tmp_path / "own.onnx", outputs)))
    found = detector.detect(np.full((100, SIDE, 3), 200, np.uint8))
    assert detector.tile == SIDE
    assert found.scores.tolist() == pytest.approx([0.9], abs=1e-6)
    assert found.boxes[0] == pytest.approx(BOX, abs=1e-3)
    assert found.points[0].ravel() == pytest.approx(FACE.ravel(), abs=1e-3)


def test_own_detector_aligns_faces(tmp_path: Path) -> None:
    finder = FaceFinder(str(network(tmp_path / "own.onnx", scrfd())))
    photo = np.random.default_rng(0).integers(150, 255, (96, SIDE, 3), dtype=np.uint8)
    face = finder.main_face_in(photo, "noise")
    assert face.score == pytest.approx(0.9)
    assert face.alignment is not None
    assert face.alignment.error < 1


def test_networks_that_are_no_detector_are_named(tmp_path: Path) -> None:
    cases = {
        "embedding": (
            {"embedding": np.zeros((1, 512), np.float32)},
            SIDE,
            r"embedding.onnx is no detector.*\[1, 512\]",
        ),
        "odd": ({"a": np.zeros((7, 1)), "b": np.zeros((7, 4)), "c": np.zeros((7, 10))}, SIDE, "is no detector"),
        "grid": ({k: v[:-1] if k == "score_8" else v for k, v in scrfd().items()}, SIDE, "511 places at stride 8"),
        "logits": ({**retinaface(), "conf": np.zeros((1, 672, 2), np.float32)}, SIDE, "do not add up to 1"),
        "wide": (scrfd(), 256, "places at stride 8"),
    }
    for name, (outputs, side, message) in cases.items():
        with pytest.raises(ModelInputError, match=message):
            FivePointOnnx(network(tmp_path / f"{name}.onnx", outputs, side))


def test_names_and_files_that_do_not_exist_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--detector is 'yunett'.*yunet"):
        check_detector("yunett")
    with pytest.raises(ModelInputError, match=r"no detector .*none\.onnx"):
        open_detector(str(tmp_path / "none.onnx"))
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelInputError, match=r"broken\.onnx cannot be loaded"):
        open_detector(str(tmp_path / "broken.onnx"))


def test_name_file_and_plugin_give_a_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(open_detector("yunet"), YuNet)
    assert isinstance(open_detector(str(NETWORK)), YuNet)
    monkeypatch.setitem(DETECTORS._found, "mine", lambda: "a detector")
    assert open_detector("mine") == "a detector"
