"""Weights of an ONNX graph into a backbone of the same layers.

Names in exported graphs follow the exporter, so layers are matched by order: the n-th convolution, batch
normalisation, PReLU or linear layer of the graph is the n-th that the backbone registers.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from oaml_core.errors import CheckpointError

PARAMETERS = {
    "Conv": ("weight", "bias"),
    "BatchNormalization": ("weight", "bias", "running_mean", "running_var"),
    "PRelu": ("weight",),
    "Gemm": ("weight", "bias"),
}
"""What the inputs after the first one of an ONNX operator are, in torch's names."""
OPERATORS: dict[type[nn.Module], str] = {
    nn.Conv2d: "Conv",
    nn.BatchNorm2d: "BatchNormalization",
    nn.BatchNorm1d: "BatchNormalization",
    nn.PReLU: "PRelu",
    nn.Linear: "Gemm",
}
GREY = 127.5
"""Pixel value, of 0 … 255, that becomes 0; ours is `pixel / GREY - 1`."""


def read_onnx(backbone: nn.Module, path: Path) -> dict[str, Tensor]:
    """Parameters of the graph in `path` under the names of `backbone`, for images in [-1, 1].

    A normalisation of pixels (0 … 255) at the graph's start, `(pixel - 127.5) · scale`, is folded into the first
    convolution.

    Raises:
        CheckpointError: the file is no ONNX graph, or its layers are not those of `backbone`.
    """
    graph = _graph(path)
    constants = _constants(graph)
    layers = [(name, module) for name, module in backbone.named_modules() if type(module) in OPERATORS]
    nodes = [node for node in graph.node if node.op_type in PARAMETERS]
    weights: dict[str, Tensor] = {}
    for (name, module), node in zip(layers, nodes, strict=False):
        if node.op_type != OPERATORS[type(module)]:
            raise CheckpointError(
                f"{path} is not of this backbone: its layer {node.output[0]} ({node.op_type}) stands where the "
                f"backbone has {name} ({OPERATORS[type(module)]}). Check model.arch."
            )
        _check_epsilon(path, name, module, node)
        for parameter, source in zip(PARAMETERS[node.op_type], node.input[1:], strict=False):
            value = constants[source]
            weights[f"{name}.{parameter}"] = value.flatten() if node.op_type == "PRelu" else value
    if len(layers) != len(nodes):
        raise CheckpointError(
            f"{path} is not of this backbone: it has {len(nodes)} layers with weights, the backbone {len(layers)}. "
            "Check model.arch."
        )
    first = f"{layers[0][0]}.weight"
    weights[first] = weights[first] * (GREY * _scale(path, graph, constants))
    return weights


def _graph(path: Path) -> Any:
    import onnx

    try:
        return onnx.load(path).graph
    except Exception as error:  # protobuf's errors share no public base
        raise CheckpointError(f"{path} cannot be read as ONNX: {error}") from error


def _constants(graph: Any) -> dict[str, Tensor]:
    from onnx import numpy_helper

    return {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.initializer}


def _scale(path: Path, graph: Any, constants: dict[str, Tensor]) -> float:
    """Factor b of the normalisation `(pixel - 127.5) · b` before the first convolution; 1 / 127.5 if there is none.

    Another grey cannot be folded in: the convolution pads with the zeros that come after it.
    """
    scale, grey, normalises = 1.0, 0.0, False
    for node in graph.node:
        if node.op_type not in ("Sub", "Mul"):
            break
        normalises, value = True, float(constants[node.input[1]])
        grey, scale = (value, scale) if node.op_type == "Sub" else (grey, scale * value)
    if not normalises:
        return 1 / GREY
    if grey != GREY:
        raise CheckpointError(
            f"{path} takes pixels about {grey}, not {GREY}: such weights cannot be taken over exactly."
        )
    return scale


def _check_epsilon(path: Path, name: str, module: nn.Module, node: Any) -> None:
    """The constant that batch normalisation adds to the variance is no parameter, but must agree."""
    if not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return
    theirs = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
    if not math.isclose(theirs, module.eps, rel_tol=1e-5):
        raise CheckpointError(
            f"{path} has epsilon {theirs:g} in {node.output[0]}, the backbone {module.eps:g} in {name}."
        )
