"""Smaller models from an exported one: half precision, and 8 bits calibrated on real faces."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.errors import ExportError
from oaml_core.export.eight_bits import write_eight_bits
from oaml_core.inference.model_files import Variant

HALF = {"Conv", "Gemm", "MatMul", "PRelu", "Relu", "BatchNormalization", "Add", "MaxPool", "Flatten", "Reshape"}
"""Operators that run in half precision. Lengths and their quotients stay in float32: squares overflow."""


def write_variant(
    source: Path, path: Path, variant: Variant, calibration: NDArray[np.uint8], *, preprocessing: bool
) -> None:
    """Write `variant` of the model in `source`, with its metadata, to `path`.

    `fp16`: weights and arithmetic of `HALF` in float16, inputs and outputs as before. `int8`: see
    `eight_bits`.

    Args:
        source: an exported model.
        calibration: uint8 [n, H, W, 3] RGB, real faces that nothing is measured on.
        preprocessing: whether the model takes these as they are; False: float [n, 3, H, W] in [-1, 1].

    Raises:
        ExportError: the model cannot be converted. OSError: the file cannot be written.
    """
    try:
        if variant == "fp16":
            _write_half(source, path)
        else:
            write_eight_bits(source, path, calibration, partial(_as_input, preprocessing=preprocessing))
    except Exception as error:  # the converters raise what the failing operator raises
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):  # the disk, and not the graph
            raise
        raise ExportError(
            f"The {variant} variant of {source.name} cannot be made: {error}. Take {variant} out of export.variants."
        ) from error


def _write_half(source: Path, path: Path) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    logging.getLogger(convert_float_to_float16.__module__).setLevel(logging.WARNING)  # it shows whole nodes
    model = onnx.load(source)
    others = {node.op_type for node in model.graph.node} - HALF
    half = convert_float_to_float16(model, keep_io_types=True, op_block_list=sorted(others))
    # The converter writes the same cast once for each operator that wants it, which onnxruntime refuses.
    known: set[str] = set()
    nodes = []
    for node in half.graph.node:
        if node.op_type != "Cast" or node.output[0] not in known:
            nodes.append(node)
            known.update(node.output)
    del half.graph.node[:]
    half.graph.node.extend(nodes)
    onnx.save(half, path)


def _as_input(faces: NDArray[np.uint8], *, preprocessing: bool) -> NDArray[Any]:
    if preprocessing:
        return np.ascontiguousarray(faces)
    return np.ascontiguousarray(faces.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1.0)
