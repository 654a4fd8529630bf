"""Recognisers as ONNX graphs of many shapes, which all give the same embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import onnx
from onnx import TensorProto, helper

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
    extra: Literal["", "read", "unread"] = "",
) -> Path:
    """Write a graph whose embedding is the mean colours of patches, 48 numbers; `tail` axes of 1 follow them.

    `extra` is a second input, on which the embedding depends or does not.
    """
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
        inputs.append(helper.make_tensor_value_info("points", TensorProto.FLOAT, [5, 2]))
    if extra == "read":
        nodes[-4] = helper.make_node("AveragePool", ["moved"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8])
        nodes[-4:-4] = [
            helper.make_node("ReduceMean", ["points"], ["middle"], keepdims=0),
            helper.make_node("Add", [*planes, "middle"], ["moved"]),
        ]
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
