"""A published ONNX graph: its constants, and which pixels it takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from oaml_core.errors import CheckpointError

Range = Literal["signed", "unit", "bytes"]
"""Pixels in [-1, 1], in [0, 1], or from 0 to 255."""
WITHOUT_EFFECT = ("Cast", "Identity", "Transpose")
"""Operators before the scaling of pixels that change no value."""
SCALES = ("Add", "Sub", "Mul", "Div")
UNPACKS = ("DequantizeLinear", "Reshape")
"""Operators by which graphs hold weights in eight bits: whole numbers with their scales, in blocks."""
LARGEST_FACTOR = 0.1
"""Factor of a pixel below which it is one from 0 to 255: 1 / 127.5 and 1 / 128, but not 1 and 2."""
LARGEST_ZERO = 1.5
"""Pixel that becomes 0 above which the graph is given 0 to 255."""


class Scaling(NamedTuple):
    """The scaling `(pixel - zero) · factor` at the start of a graph."""

    zero: float
    factor: float
    uniform: bool = True
    """True if it is the same for all colours and places; zero and factor are means otherwise."""


def read_graph(path: Path) -> Any:
    """Return the graph of an ONNX file; raises CheckpointError if it cannot be read."""
    import onnx

    try:
        return onnx.load(path).graph
    except Exception as error:  # protobuf's errors share no public base
        raise CheckpointError(f"{path} cannot be read as ONNX: {error}") from error


def constants_of(graph: Any) -> dict[str, Tensor]:
    """Return all values of a graph that do not depend on its input, by name."""
    from onnx import numpy_helper

    found = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.initializer}
    for node in graph.node:
        if node.op_type in ("Identity", "Unsqueeze") and node.input[0] in found:  # exporters keep equal constants once
            found[node.output[0]] = found[node.input[0]]
        elif node.op_type in UNPACKS and all(name in found for name in node.input if name):
            found |= _computed(node, found)
        elif node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            found[node.output[0]] = torch.from_numpy(numpy_helper.to_array(node.attribute[0].t).copy())
    return found


def _computed(node: Any, constants: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what an operator makes of constants, by name; nothing if it cannot be computed."""
    from onnx.reference import ReferenceEvaluator

    given = {name: constants[name].numpy() for name in node.input if name}
    try:
        (value,) = list(ReferenceEvaluator(node).run(None, given))
        return {node.output[0]: torch.from_numpy(np.array(value))}
    except Exception:  # of damaged graphs, without a common base; the layer that needs the value is named then
        return {}


def scaling_of(path: Path, graph: Any, constants: Mapping[str, Tensor]) -> Scaling | None:
    """Return the scaling of pixels before the first layer; None if there is none.

    Args:
        path: of the graph, for messages.
        graph: of an ONNX file.
        constants: of the graph, see `constants_of`.

    Raises:
        CheckpointError: all pixels are scaled to one value.
    """
    factor, shift, scales, uniform = 1.0, 0.0, False, True
    for operator, operand, is_first in _starting_steps(graph, constants):
        value = operand.double().flatten()
        scales, number = True, float(value.mean())
        uniform = uniform and bool((value == number).all())
        if operator in ("Add", "Sub"):
            if operator == "Sub" and is_first:
                factor, shift = -factor, number - shift
            else:
                shift += number if operator == "Add" else -number
        else:
            number = number if operator == "Mul" else 1 / number if number else 0.0
            factor, shift = factor * number, shift * number
    if not scales:
        return None
    if factor == 0:
        raise CheckpointError(f"{path} scales all pixels to one value: it is damaged.")
    return Scaling(-shift / factor, factor, uniform)


def pixels_of(path: Path) -> Range:
    """Return which pixels a graph takes, by the type of its input and by its first operators.

    Raises:
        CheckpointError: the file cannot be read, or scales all pixels to one value.
    """
    from onnx import TensorProto

    graph = read_graph(path)
    kinds = {one.name: one.type.tensor_type.elem_type for one in graph.input}
    if kinds.get(_image(graph)) == TensorProto.UINT8:
        return "bytes"
    scaling = scaling_of(path, graph, constants_of(graph))
    if scaling is None:
        return "signed"
    if scaling.zero > LARGEST_ZERO or abs(scaling.factor) < LARGEST_FACTOR:
        return "bytes"
    return "unit" if 0 < scaling.zero < 1 else "signed"


def _image(graph: Any) -> str:
    """Return the name of the image: the first input that is no weight."""
    weights = {each.name for each in graph.initializer}
    return next((one.name for one in graph.input if one.name not in weights), "")


def _starting_steps(graph: Any, constants: Mapping[str, Tensor]) -> list[tuple[str, Tensor, bool]]:
    """Return operator, constant and whether the constant comes first, of what is done to pixels before all else."""
    value, steps = _image(graph), []
    for node in graph.node:
        if value not in node.input:
            continue
        if node.op_type in SCALES:
            other = next((name for name in node.input if name != value), "")
            is_first = other == node.input[0]
            if other not in constants or (node.op_type == "Div" and is_first):
                break
            steps.append((node.op_type, constants[other], is_first))
        elif node.op_type not in WITHOUT_EFFECT:
            break
        value = node.output[0]
    return steps
