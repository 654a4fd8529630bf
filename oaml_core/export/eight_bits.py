"""An exported model in 8 bits: ranges of least error, and operators that 8 bits would harm left in float32.

Two steps, both measured on calibration faces, before onnxruntime writes QuantizeLinear / DequantizeLinear:

1. A tensor is clipped where the squared error of its 8 bits is least.
2. An operator stays in float32 where 8 bits of its input or output leave too much noise. A last feature map with one
   loud channel is such a tensor: without this step it alone costs MobileFaceNet most of its likeness.

Activations are signed and symmetric, weights have 7 bits per output channel: sums of products then fit the 16 bits of
processors without VNNI, and every processor computes the same. Scaling channels to like ranges first (cross-layer
equalisation, https://arxiv.org/abs/1906.04721) was tried and made it worse.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

EIGHT_BITS = ("Conv", "Gemm", "MatMul")
"""Operators that run in 8 bits."""
CALIBRATION_BATCH = 4
"""Faces whose tensors, all of them, are in memory at a time."""
LEVELS = 127
"""Steps on either side of 0."""
CLIPS = (1.0, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3)
"""Shares of the largest absolute value that are tried as the range."""
LEAST_SIGNAL = 21.0
"""Decibels of a tensor above the error of its 8 bits; operators at tensors below it stay in float32."""
EVERY = 5
"""One value in so many is looked at to choose a range."""

Images = NDArray[np.uint8]
AsInput = Callable[[Images], NDArray[Any]]


@dataclass(frozen=True)
class Range:
    """The mapping of a tensor's values to 8 bits."""

    limit: float
    """Values beyond ± this are clipped."""
    signal: float
    """Mean square of a channel's values above mean square of their error, in decibels: the median of the channels.
    Over all values it would be that of the loudest channel."""


def write_eight_bits(source: Path, path: Path, faces: Images, as_input: AsInput) -> list[str]:
    """Write the model in `source` with `EIGHT_BITS` in 8 bits to `path`.

    Args:
        source: an exported model in float32.
        path: of the smaller model.
        faces: uint8 [n, H, W, 3] RGB, real faces, covered ones among them, that nothing is measured on.
        as_input: makes the model's input of them.

    Returns:
        Names of the operators that stay in float32.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quant_pre_process, quantize_static

    prepared = path.with_name(path.name + ".prepared")
    root = logging.getLogger()
    level = root.level
    try:
        # Its advice to preprocess goes to the root logger, also after preprocessing.
        root.setLevel(logging.ERROR)
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        model = onnx.load(prepared)
        batches = [as_input(faces[at : at + CALIBRATION_BATCH]) for at in range(0, len(faces), CALIBRATION_BATCH)]
        _name_operators(model)
        found = best_ranges(model, batches)
        kept = sensitive(model, found)
        onnx.save(model, prepared)
        quantize_static(
            str(prepared),
            str(path),
            _One(model.graph.input[0].name, batches[0][:1]),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(EIGHT_BITS),
            nodes_to_exclude=kept,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": True, "TensorQuantOverrides": _overrides(found)},
        )
    finally:
        root.setLevel(level)
        prepared.unlink(missing_ok=True)
    return kept


def best_ranges(model: Any, batches: Sequence[NDArray[Any]]) -> dict[str, Range]:
    """Return the range of least squared error of every tensor that an operator in 8 bits reads or writes.

    Args:
        model: ONNX model.
        batches: inputs of it.
    """
    names = list(dict.fromkeys(name for node in _operators(model) for name in _tensors(node, model)))
    largest = _largest(model, names, batches)
    errors: dict[str, Any] = dict.fromkeys(names, 0.0)
    squares: dict[str, Any] = dict.fromkeys(names, 0.0)
    for values in _values(model, names, batches):
        for name in names:
            some = _by_channel(values[name])
            squares[name] += (some**2).sum(1)
            errors[name] += np.stack([_error(some, share * largest[name]) for share in CLIPS])
    return {name: _best(largest[name], errors[name], squares[name]) for name in names}


def sensitive(model: Any, ranges: Mapping[str, Range]) -> list[str]:
    """Return the names of the operators at tensors that 8 bits leave too noisy.

    Args:
        model: ONNX model whose nodes have names.
        ranges: of its tensors.
    """
    return [
        node.name
        for node in _operators(model)
        if min(ranges[name].signal for name in _tensors(node, model)) < LEAST_SIGNAL
    ]


def _by_channel(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return some of the values of a tensor [n, C, …] as [C, m]."""
    channels = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1) if values.ndim > 1 else values[None]
    return channels[:, :: EVERY if channels.shape[1] > EVERY else 1].astype(np.float32)


def _error(values: NDArray[np.float32], limit: float) -> NDArray[np.float32]:
    """Return the sum of squared errors per channel that 8 bits within ± `limit` make."""
    step = np.float32(limit / LEVELS)
    found: NDArray[np.float32] = ((np.rint(values / step).clip(-LEVELS, LEVELS) * step - values) ** 2).sum(1)
    return found


def _best(largest: float, errors: NDArray[np.float32], squares: NDArray[np.float32]) -> Range:
    """Return the range of least error.

    Args:
        largest: absolute value of the tensor.
        errors: [clips, C], sums of squared errors.
        squares: [C], sums of squares; silent channels have no say.
    """
    best = int(np.argmin(errors.sum(1)))
    heard = squares > 0
    signal = 10 * np.log10(squares[heard] / np.maximum(errors[best][heard], 1e-30))
    return Range(CLIPS[best] * largest, float(np.median(signal)) if heard.any() else np.inf)


def _operators(model: Any) -> list[Any]:
    return [node for node in model.graph.node if node.op_type in EIGHT_BITS]


def _tensors(node: Any, model: Any) -> list[str]:
    """Return the names of what an operator reads and writes, weights apart."""
    weights = {one.name for one in model.graph.initializer}
    return [name for name in (*node.input, *node.output) if name and name not in weights]


def _name_operators(model: Any) -> None:
    """Give every node a name of its own: they are left out by name."""
    for number, node in enumerate(model.graph.node):
        node.name = f"{number}_{node.op_type}"


def _overrides(ranges: Mapping[str, Range]) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [{"rmin": np.float32(-one.limit), "rmax": np.float32(one.limit), "symmetric": True}]
        for name, one in ranges.items()
    }


def _largest(model: Any, names: Sequence[str], batches: Sequence[NDArray[Any]]) -> dict[str, float]:
    """Return the largest absolute value of the named tensors; 1 where all are 0."""
    found = dict.fromkeys(names, 0.0)
    for values in _values(model, names, batches):
        for name, value in values.items():
            found[name] = max(found[name], float(np.abs(value).max()))
    return {name: value or 1.0 for name, value in found.items()}


def _values(
    model: Any, names: Sequence[str], batches: Sequence[NDArray[Any]]
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Yield the named tensors of each batch, as the graph computes them without any fusion."""
    import onnx
    import onnxruntime

    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    given = shown.graph.input[0].name
    outputs = {one.name for one in shown.graph.output} | {given}
    wanted = [name for name in names if name != given]
    shown.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in outputs)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for batch in batches:
        found = dict(zip(wanted, session.run(wanted, {given: batch}), strict=True))
        yield found | {name: batch for name in names if name == given}


class _One:
    """A single face for onnxruntime's own calibration, whose ranges are all overridden."""

    def __init__(self, name: str, face: NDArray[Any]) -> None:
        self._feeds: list[dict[str, NDArray[Any]]] = [{name: face}]

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return self._feeds.pop() if self._feeds else None
