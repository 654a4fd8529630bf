"""Exported graphs as OpenVINO gets them: fewer roundings to 8 bits, PReLU by itself, and the same values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from oaml_core.export.eight_bits import write_eight_bits
from oaml_core.export.variants import write_variant
from oaml_core.inference import backends
from oaml_core.inference.backends import OnnxRuntime, OpenVino, has_openvino, usable
from oaml_core.inference.openvino_graph import drop_needless_rounding, part_prelu

pytestmark = pytest.mark.skipif(not has_openvino(), reason="OpenVINO is not installed")
SIZE, CHANNELS = 12, 8


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convolution, PReLU, a residual block of two convolutions with PReLU between them, and a last convolution."""
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    generator = np.random.default_rng(0)
    shapes = dict.fromkeys(("w1", "w2"), (CHANNELS, CHANNELS, 3, 3)) | {
        "w0": (CHANNELS, 3, 3, 3),
        "w3": (4, CHANNELS, 1, 1),
    }
    weights = {name: generator.normal(size=shape) / np.sqrt(np.prod(shape[1:])) for name, shape in shapes.items()}
    weights |= {f"b{number}": generator.normal(size=shapes[f"w{number}"][0]) for number in range(4)}
    weights |= {name: generator.uniform(-1, 2, (CHANNELS, 1, 1)) for name in ("slope0", "slope1")}
    nodes = [
        helper.make_node("Conv", ["images", "w0", "b0"], ["c0"], pads=[1] * 4),
        helper.make_node("PRelu", ["c0", "slope0"], ["p0"]),
        helper.make_node("Conv", ["p0", "w1", "b1"], ["c1"], pads=[1] * 4),
        helper.make_node("PRelu", ["c1", "slope1"], ["p1"]),
        helper.make_node("Conv", ["p1", "w2", "b2"], ["c2"], pads=[1] * 4),
        helper.make_node("Add", ["p0", "c2"], ["sum"]),
        helper.make_node("Conv", ["sum", "w3", "b3"], ["found"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("found", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def as_input(faces: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(faces.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (80, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def small(whole: Path, faces: np.ndarray) -> Path:
    path = whole.with_name("small.onnx")
    assert write_eight_bits(whole, path, faces[:16], as_input) == []
    return path


def read(path: Path) -> object:
    import openvino

    return openvino.Core().read_model(str(path))


def test_sums_before_prelu_and_residual_are_not_rounded(whole: Path, small: Path) -> None:
    assert drop_needless_rounding(read(whole)) == 0
    model = read(small)
    assert drop_needless_rounding(model) == 3
    assert drop_needless_rounding(model) == 0


def test_that_brings_8_bits_nearer_to_the_whole_model(
    whole: Path, small: Path, faces: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds = {"images": as_input(faces[16:])}
    expected = OnnxRuntime(whole).run(["found"], feeds)[0]
    less = np.linalg.norm(OpenVino(small).run(["found"], feeds)[0] - expected)
    monkeypatch.setattr(backends, "drop_needless_rounding", lambda model: 0)
    more = np.linalg.norm(OpenVino(small).run(["found"], feeds)[0] - expected)
    assert less < 0.97 * more


@pytest.mark.parametrize("half", [False, True])
def test_prelu_by_itself_says_the_same(
    whole: Path, faces: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: bool
) -> None:
    path = whole
    if half:
        write_variant(whole, path := tmp_path / "half.onnx", "fp16", faces, preprocessing=False)
    feeds = {"images": as_input(faces)}
    expected = OpenVino(path).run(["found"], feeds)[0]
    parted = []
    monkeypatch.setattr(backends, "drop_needless_rounding", lambda model: parted.append(part_prelu(model)))
    np.testing.assert_allclose(OpenVino(path).run(["found"], feeds)[0], expected, atol=1e-6)
    assert parted == [2]


def test_it_is_by_itself_in_bfloat16_alone(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parted = []
    monkeypatch.setattr(backends, "part_prelu", lambda model: parted.append(model))
    OpenVino(whole, "f32")
    assert not parted
    if "bf16" in usable(["bf16"]):
        OpenVino(whole, "bf16")
        assert len(parted) == 1
