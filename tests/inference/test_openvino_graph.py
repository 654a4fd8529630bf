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
from oaml_core.inference.openvino_graph import (
    drop_idle_pools,
    drop_needless_rounding,
    part_prelu,
    round_beside_norm,
)

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


def pooled(path: Path, **options: object) -> Path:
    """Write a pool beside a convolution, and their sum."""
    weights = np.random.default_rng(0).normal(size=(3, 3, 1, 1)).astype(np.float32)
    strides = options.get("strides", [1, 1])
    outputs = ["pooled", "where"] if options.pop("places", False) else ["pooled"]
    nodes = [
        helper.make_node("MaxPool", ["images"], outputs, **{"kernel_shape": [1, 1]} | options),
        helper.make_node("Conv", ["images", "w"], ["c"], strides=strides),
        helper.make_node("Add", ["c", "pooled"], ["found"]),
    ]
    found = [helper.make_tensor_value_info("found", TensorProto.FLOAT, None)]
    found += [helper.make_tensor_value_info("where", TensorProto.INT64, None)] * (len(outputs) - 1)
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])
    graph = helper.make_graph(nodes, "graph", [images], found, [numpy_helper.from_array(weights, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.mark.parametrize(
    ("options", "idle"),
    [
        ({}, 1),
        ({"strides": [2, 2]}, 0),
        ({"kernel_shape": [3, 3], "pads": [1] * 4}, 0),
        ({"places": True}, 0),
    ],
)
def test_pools_that_copy_are_left_out_and_no_others(
    tmp_path: Path, faces: np.ndarray, options: dict[str, object], idle: int
) -> None:
    path = pooled(tmp_path / "pool.onnx", **options)
    assert drop_idle_pools(read(path)) == idle
    feeds = {"images": as_input(faces[:4])}
    found = OpenVino(path).run(["found"], feeds)[0]
    np.testing.assert_allclose(found, OnnxRuntime(path).run(["found"], feeds)[0], atol=1e-5)


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory, faces: np.ndarray) -> Path:
    """A residual block as IR networks have it, in 8 bits: its normalisation reads the map that is added at its end."""
    folder = tmp_path_factory.mktemp("residual")
    generator = np.random.default_rng(2)
    values = {f"w{number}": generator.normal(size=(8, size, 3, 3)) / 5 for number, size in enumerate((3, 8, 8))}
    values |= {"slope": generator.uniform(0, 1, (8, 1, 1)), "scale": generator.uniform(0.5, 2, 8)}
    values |= {"shift": generator.normal(size=8), "mean": generator.normal(size=8), "var": generator.uniform(1, 4, 8)}
    nodes = [
        helper.make_node("Conv", ["images", "w0"], ["c0"], pads=[1] * 4),
        helper.make_node("PRelu", ["c0", "slope"], ["p0"]),
        helper.make_node("BatchNormalization", ["p0", "scale", "shift", "mean", "var"], ["n"]),
        helper.make_node("Conv", ["n", "w1"], ["c1"], pads=[1] * 4),
        helper.make_node("PRelu", ["c1", "slope"], ["p1"]),
        helper.make_node("Conv", ["p1", "w2"], ["c2"], pads=[1] * 4),
        helper.make_node("Add", ["p0", "c2"], ["found"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("found", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()],
    )
    path = folder / "residual.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    assert write_eight_bits(path, folder / "small.onnx", faces[:16], as_input) == []
    return folder / "small.onnx"


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_normalisation_that_rounds_by_itself_says_the_same(
    residual: Path, faces: np.ndarray, monkeypatch: pytest.MonkeyPatch, precision: backends.Precision
) -> None:
    if precision not in usable([precision]):
        pytest.skip(f"this processor does not compute in {precision}")
    feeds = {"images": as_input(faces[16:])}
    found = OpenVino(residual, precision).run(["found"], feeds)[0]
    counted = []
    monkeypatch.setattr(backends, "round_beside_norm", lambda model: counted.append(model))
    expected = OpenVino(residual, precision).run(["found"], feeds)[0]
    assert len(counted) == 1
    # A value between two steps may take the other one.
    assert np.linalg.norm(found - expected) < (2e-3 if precision == "f32" else 2e-2) * np.linalg.norm(expected)


def test_only_roundings_of_normalisations_are_moved(residual: Path, small: Path) -> None:
    assert round_beside_norm(read(small)) == 0
    model = read(residual)
    assert round_beside_norm(model) == 1
    assert round_beside_norm(model) == 0
