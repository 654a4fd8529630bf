"""8 bits where they do no harm: a tensor with one loud value per channel stays in float32, and the rest is alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from oaml_core.export import eight_bits
from oaml_core.export.eight_bits import write_eight_bits
from oaml_core.inference.backends import OnnxRuntime

SIZE, CHANNELS = 12, 6


def write_graph(path: Path, loud: float) -> None:
    """Three convolutions of images [n, 3, H, W]; channel 0 of what the last one reads is `loud` times as loud.

    The last one hears that channel so much less: in float32 `loud` changes nothing.
    """
    generator = np.random.default_rng(0)
    weights = [
        generator.normal(size=shape).astype(np.float32)
        for shape in ((CHANNELS, 3, 3, 3), (CHANNELS, CHANNELS, 3, 3), (4, CHANNELS, 1, 1))
    ]
    weights[1][0] *= loud
    weights[2][:, 0] /= loud
    names, tensor, nodes = ("first", "loud", "last"), "images", []
    for number, name in enumerate(names):
        nodes.append(helper.make_node("Conv", [tensor, f"w{number}"], [f"c{number}"], name=name))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [tensor := f"r{number}"]))
    nodes[-1] = helper.make_node("Identity", ["c2"], [tensor := "found"])
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("found", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, f"w{number}") for number, weight in enumerate(weights)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def as_input(faces: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(faces.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)


def likeness(whole: Path, small: Path, faces: np.ndarray) -> float:
    feeds = {"images": as_input(faces)}
    expected, found = (OnnxRuntime(path).run(["found"], feeds)[0].ravel() for path in (whole, small))
    return float(expected @ found / max(np.linalg.norm(expected) * np.linalg.norm(found), 1e-9))


def test_without_that_the_loud_channel_costs_the_others_their_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, small = tmp_path / "model.onnx", tmp_path / "small.onnx"
    write_graph(whole, 3e3)
    faces = np.random.default_rng(1).integers(0, 256, (12, SIZE, SIZE, 3), dtype=np.uint8)
    monkeypatch.setattr(eight_bits, "LEAST_SIGNAL", -np.inf)
    assert write_eight_bits(whole, small, faces[:8], as_input) == []
    assert likeness(whole, small, faces[8:]) < 0.9


@pytest.mark.parametrize(("loud", "in_float"), [(1.0, 0), (3e3, 2)])
def test_operators_at_a_loud_channel_stay_in_float32_and_outputs_are_alike(
    tmp_path: Path, loud: float, in_float: int
) -> None:
    whole, small = tmp_path / "model.onnx", tmp_path / "small.onnx"
    write_graph(whole, loud)
    faces = np.random.default_rng(1).integers(0, 256, (12, SIZE, SIZE, 3), dtype=np.uint8)

    kept = write_eight_bits(whole, small, faces[:8], as_input)

    assert len(kept) == in_float
    quantised = onnx.load(small)
    assert sum(node.op_type == "QuantizeLinear" for node in quantised.graph.node) > 0
    assert likeness(whole, small, faces[8:]) > 0.995
    assert not list(tmp_path.glob("*.prepared"))


def test_weights_have_7_bits_and_activations_are_symmetric(tmp_path: Path) -> None:
    whole, small = tmp_path / "model.onnx", tmp_path / "small.onnx"
    write_graph(whole, 1.0)
    faces = np.random.default_rng(1).integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8)
    write_eight_bits(whole, small, faces, as_input)
    graph = onnx.load(small).graph
    stored = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    read = {
        node.input[0]: stored[node.input[2]]
        for node in graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    }
    assert all((zero == 0).all() for zero in read.values())
    weights = [stored[name] for name in read if name in stored and stored[name].ndim == 4]
    assert len(weights) == 3
    for weight in weights:
        assert weight.dtype == np.int8
        assert np.abs(weight.astype(int)).max() <= 64
