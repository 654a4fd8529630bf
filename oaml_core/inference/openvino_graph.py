"""Changes to an exported graph that make OpenVINO quicker: it computes the same, with fewer roundings.

Both were found in OpenVINO's performance counters of MobileFaceNet, whose 33 PReLUs are a third of its time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

CONVOLUTIONS = {"Convolution", "GroupConvolution"}
AFTER_CONVOLUTION = {"PRelu", "Relu", "Add"}
"""Operators that OpenVINO computes together with the convolution before them, in float32."""
ROUNDING = ("Multiply", "Subtract", "Convert", "Convert", "FakeQuantize")
"""Operators, last first, that OpenVINO reads for QuantizeLinear and DequantizeLinear."""


def drop_needless_rounding(model: Any) -> int:
    """Let operators read the sums of the convolution before them as they are, not rounded to 8 bits.

    onnxruntime computes a convolution in 8 bits only where its sums are rounded to 8 bits as well, so that our files
    round them. OpenVINO needs that rounding nowhere but before the next convolution.

    Args:
        model: `openvino.Model`; it changes.

    Returns:
        Number of inputs that are no longer rounded.
    """
    found = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() not in AFTER_CONVOLUTION:
            continue
        for read in node.inputs():
            sums = _before_rounding(read.get_source_output())
            if sums is not None and _of_convolution(sums.get_node()):
                read.replace_source_output(sums)
                found += 1
    return found


def part_prelu(model: Any) -> int:
    """Keep every PReLU out of the convolution before it, by a maximum with −∞, which changes nothing.

    Within a convolution for AVX-512, PReLU's slopes per channel cost more than reading and writing the map once more:
    MobileFaceNet in bfloat16 gains a fifth. With fewer instructions the map costs more than the slopes.

    Args:
        model: `openvino.Model`; it changes.

    Returns:
        Number of PReLUs.
    """
    from openvino import opset13

    found = [node for node in model.get_ordered_ops() if node.get_type_name() == "PRelu"]
    for node in found:
        read = node.input(0)
        least = opset13.constant(-np.inf, read.get_element_type())
        read.replace_source_output(opset13.maximum(read.get_source_output(), least).output(0))
    return len(found)


def _before_rounding(output: Any) -> Any | None:
    """Return the output that is rounded to 8 bits and back to become `output`; None: it is not."""
    for kind in ROUNDING:
        node = output.get_node()
        if node.get_type_name() != kind:
            return None
        output = node.input_value(0)
    return output


def _of_convolution(node: Any) -> bool:
    """Return True if a node is a convolution, or adds the bias to one."""
    if node.get_type_name() == "Add":
        return any(value.get_node().get_type_name() in CONVOLUTIONS for value in node.input_values())
    return node.get_type_name() in CONVOLUTIONS
