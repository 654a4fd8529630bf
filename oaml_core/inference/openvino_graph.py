"""Changes to an exported graph that make OpenVINO quicker: it computes the same, with fewer roundings.

They were found in OpenVINO's performance counters of MobileFaceNet, whose 33 PReLUs are a third of its time, and of
IR-50, whose shortcuts copied their maps and whose normalisations converted them.
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
    found = [node for node in model.get_ordered_ops() if node.get_type_name() == "PRelu"]
    for node in found:
        _put_maximum(node.input(0))
    return len(found)


def round_beside_norm(model: Any) -> int:
    """Let a normalisation that no convolution has before it write 8 bits itself, by a maximum with −∞ in between.

    OpenVINO folds such a normalisation into the rounding, computes that in float32 with channels in groups, and
    converts the map before and after: a quarter of the time of IR-50 in 8 bits. Behind the maximum normalisation and
    rounding are one pass over the map as it lies there.

    Args:
        model: `openvino.Model` of an 8-bit graph; it changes.

    Returns:
        Number of roundings.
    """
    found = [node for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize"]
    found = [node for node in found if node.input_value(0).get_node().get_type_name() == "BatchNormInference"]
    for node in found:
        _put_maximum(node.input(0))
    return len(found)


def drop_idle_pools(model: Any) -> int:
    """Leave out pools over single places that skip none: IR networks are published with them in their shortcuts.

    Each is a copy of its map. Without it OpenVINO adds a convolution's sums to the map itself.

    Args:
        model: `openvino.Model`; it changes.

    Returns:
        Number of pools.
    """
    found = [node for node in model.get_ordered_ops() if node.get_type_name() == "MaxPool" and _is_idle(node)]
    for node in found:
        for read in node.output(0).get_target_inputs():
            read.replace_source_output(node.input_value(0))
    return len(found)


def _is_idle(pool: Any) -> bool:
    """Return True if a pool returns what it reads, and nobody asks where it found it."""
    said = pool.get_attributes()
    single = all(step == 1 for name in ("kernel", "strides") for step in said[name])
    padded = any(width for name in ("pads_begin", "pads_end") for width in said[name])
    asked = any(output.get_target_inputs() for output in pool.outputs()[1:])
    return single and not padded and not asked


def _put_maximum(read: Any) -> None:
    """Put a maximum with −∞ before an input: OpenVINO computes it with what follows, not with what precedes."""
    from openvino import opset13

    least = opset13.constant(-np.inf, read.get_element_type())
    read.replace_source_output(opset13.maximum(read.get_source_output(), least).output(0))


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
