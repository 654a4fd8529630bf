"""Published ONNX recognisers come in many shapes: each is measured like the plain one, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from oaml_core.errors import ExportError
from oaml_core.inference.any_onnx import PlainOnnx

SIZE = 32


def graph(
    path: Path,
    *,
    batch: int | str = "n",
    size: Any = (SIZE, SIZE),
    last: bool = False,
    kind: int = TensorProto.FLOAT,
    tail: int = 0,
    norm: bool = False,
    factor: float = 1.0,
    extra: bool = False,
) -> Path:
    """Write a graph whose embedding is the mean colours of patches, 48 numbers; `tail` axes of 1 follow them."""
    shape = [batch, *size, 3] if last else [batch, 3, *size]
    planes = ["planes"] if last else ["float"]
    nodes = [helper.make_node("Cast", ["data"], ["float"], to=TensorProto.FLOAT)]
    if last:
        nodes.append(helper.make_node("Transpose", ["float"], planes, perm=[0, 3, 1, 2]))
    nodes += [
        helper.make_node("AveragePool", planes, ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Mul", ["pooled", "factor"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "shape"], ["embedding"]),
        helper.make_node("ReduceL2", ["embedding", "axes"], ["norm"], keepdims=1),
    ]
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, 48, *[1] * tail])
    length = helper.make_tensor_value_info("norm", TensorProto.FLOAT, [batch, 1, *[1] * tail])
    inputs = [helper.make_tensor_value_info("data", kind, shape)]
    if extra:
        inputs.append(helper.make_tensor_value_info("points", TensorProto.FLOAT, [batch, 5, 2]))
    made = helper.make_graph(
        nodes,
        "patches",
        inputs,
        [length, embedding] if norm else [embedding],
        [
            helper.make_tensor("factor", TensorProto.FLOAT, [], [factor]),
            helper.make_tensor("shape", TensorProto.INT64, [2 + tail], [-1, 48, *[1] * tail]),
            helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
        ],
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.fixture(scope="module")
def faces() -> Any:
    return np.random.default_rng(0).integers(0, 255, (7, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "shape",
    [
        {"batch": 1},
        {"batch": 4},
        {"batch": 64},
        {"last": True},
        {"last": True, "batch": 3},
        {"kind": TensorProto.FLOAT16},
        {"kind": TensorProto.DOUBLE, "batch": 5},
        {"kind": TensorProto.UINT8},
        {"tail": 2},
        {"norm": True},
        {"norm": True, "tail": 1, "last": True},
    ],
)
def test_every_shape_gives_the_embeddings_of_the_plain_one(shape: dict[str, Any], faces: Any, tmp_path: Path) -> None:
    plain = PlainOnnx(graph(tmp_path / "plain.onnx"))
    other = PlainOnnx(graph(tmp_path / "other.onnx", **shape))
    found, wanted = other.records(faces), plain.records(faces)
    np.testing.assert_allclose(found.embedding, wanted.embedding, atol=2e-3)
    np.testing.assert_allclose(found.norm, wanted.norm, rtol=2e-3)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"size": (SIZE, 24)}, "24×32 pixels; faces are square"),
        ({"extra": True}, "takes points .* beside the image"),
        ({"kind": TensorProto.INT64}, r"takes tensor\(int64\)"),
    ],
)
def test_other_shapes_are_refused_by_name(shape: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=said):
        PlainOnnx(graph(tmp_path / "other.onnx", **shape))


def test_signed_pixels_are_not_given_as_bytes(tmp_path: Path) -> None:
    path = graph(tmp_path / "bytes.onnx", kind=TensorProto.UINT8)
    with pytest.raises(ExportError, match="raw bytes"):
        PlainOnnx(path, pixels="signed")


def test_embeddings_that_are_no_numbers_are_refused(faces: Any, tmp_path: Path) -> None:
    model = PlainOnnx(graph(tmp_path / "damaged.onnx", factor=float("nan")))
    with pytest.raises(ExportError, match="damaged.onnx gives embeddings that are NaN"):
        model.records(faces)


def test_a_model_that_fails_on_faces_is_named(tmp_path: Path) -> None:
    # The graph leaves its size open and makes 48 numbers of 32 × 32 pixels alone.
    model = PlainOnnx(graph(tmp_path / "open.onnx", size=("h", "w"), batch=2))
    with pytest.raises(ExportError, match=r"open.onnx (fails on|gives).*faces"):
        model.records(np.zeros((1, model.image_size, model.image_size, 3), dtype=np.uint8))
