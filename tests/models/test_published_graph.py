"""Which pixels a published ONNX graph takes is read off its input and its first operators."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from torch import nn

from oaml_core.errors import CheckpointError
from oaml_core.models.onnx_weights import read_onnx
from oaml_core.models.published_graph import pixels_of

Step = tuple[str, object, bool]
"""Operator, its constant or attribute, and whether the constant comes first."""


def graph(path: Path, steps: Sequence[Step], kind: int = TensorProto.FLOAT) -> Path:
    """Write a graph that does `steps` to the image and then convolves it."""
    nodes, constants, value = [], [], "image"
    for number, (operator, content, first) in enumerate(steps):
        made = f"step{number}"
        if operator == "Cast":
            nodes.append(helper.make_node("Cast", [value], [made], to=TensorProto.FLOAT))
        elif operator == "Transpose":
            nodes.append(helper.make_node("Transpose", [value], [made], perm=content))
        else:
            constants.append(onnx.numpy_helper.from_array(np.asarray(content, dtype=np.float32), f"c{number}"))
            names = [f"c{number}", value] if first else [value, f"c{number}"]
            nodes.append(helper.make_node(operator, names, [made]))
        value = made
    weight = onnx.numpy_helper.from_array(np.zeros((4, 3, 1, 1), np.float32), "weight")
    nodes.append(helper.make_node("Conv", [value, "weight"], ["out"]))
    made_graph = helper.make_graph(
        nodes,
        "scaled",
        [helper.make_tensor_value_info("image", kind, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [weight, *constants],
    )
    onnx.save(helper.make_model(made_graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.mark.parametrize(
    ("steps", "taken"),
    [
        ([], "signed"),
        ([("Mul", 2.0, False)], "signed"),
        ([("Sub", 127.5, False), ("Mul", 1 / 127.5, False)], "bytes"),
        ([("Sub", 127.5, False), ("Div", 128.0, False)], "bytes"),
        ([("Div", 127.5, False), ("Sub", 1.0, False)], "bytes"),
        ([("Add", -127.5, True), ("Mul", 0.0078125, True)], "bytes"),
        ([("Sub", 127.5, True)], "bytes"),
        ([("Sub", 127.5, False)], "bytes"),
        ([("Div", 255.0, False)], "bytes"),
        ([("Cast", None, False), ("Transpose", [0, 1, 2, 3], False), ("Div", 127.5, False)], "bytes"),
        ([("Sub", 0.5, False), ("Div", 0.5, False)], "unit"),
        ([("Sub", [[[[0.5]]]], False)], "unit"),
        ([("Sub", np.full((1, 3, 1, 1), 127.5), False)], "bytes"),
        ([("Sub", [[[[0.485]], [[0.456]], [[0.406]]]], False), ("Div", 0.226, False)], "unit"),
    ],
)
def test_the_first_operators_tell_the_pixels(tmp_path: Path, steps: list[Step], taken: str) -> None:
    assert pixels_of(graph(tmp_path / "scaled.onnx", steps)) == taken


def test_an_input_of_bytes_tells_the_pixels(tmp_path: Path) -> None:
    """A graph that casts them as its first step, as OAML's own do."""
    steps: list[Step] = [("Cast", None, False)]
    assert pixels_of(graph(tmp_path / "bytes.onnx", steps, kind=TensorProto.UINT8)) == "bytes"


def test_a_graph_that_scales_everything_to_one_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"scaled\.onnx scales all pixels to one value"):
        pixels_of(graph(tmp_path / "scaled.onnx", [("Mul", 0.0, False)]))


def test_weights_of_a_graph_that_scales_each_colour_otherwise_are_refused(tmp_path: Path) -> None:
    means = [[[[120.0]], [[115.0]], [[100.0]]]]
    path = graph(tmp_path / "scaled.onnx", [("Sub", means, False)])
    with pytest.raises(CheckpointError, match=r"another value for each colour.*`oaml model add`"):
        read_onnx(nn.Sequential(nn.Conv2d(3, 4, 1, bias=False)), path)


def test_a_file_that_is_no_graph_is_named(tmp_path: Path) -> None:
    (tmp_path / "none.onnx").write_bytes(b"PK\x03\x04 no graph")
    with pytest.raises(CheckpointError, match=r"none\.onnx cannot be read as ONNX"):
        pixels_of(tmp_path / "none.onnx")
