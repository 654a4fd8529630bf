"""Tensors of the Open Inference Protocol, version 2: from a request to arrays and back, as JSON or in binary form.

Source: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md, and the binary
data extension that Triton and KServe share.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.errors import ModelInputError
from oaml_core.inference.backends import Tensor
from oaml_core.structured_text import parse_json

Array = NDArray[Any]
DATATYPES = {
    "BOOL": "?",
    **{f"UINT{8 * size}": f"<u{size}" for size in (1, 2, 4, 8)},
    **{f"INT{8 * size}": f"<i{size}" for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": f"<f{size}" for size in (2, 4, 8)},
}
"""Types of numpy by the protocol's name; binary data is little endian. BYTES is not taken: no model here has text."""
OF_ONNX = {
    "tensor(bool)": "BOOL",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    **{f"tensor({kind}{bits})": f"{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}
"""The protocol's names by onnxruntime's."""


class InferRequest(NamedTuple):
    """A request for inference on tensors."""

    id: str | None
    """Is given back."""
    feeds: dict[str, Array]
    """Arrays by input."""
    outputs: list[str]
    """Names of the outputs that are wanted, in this order."""
    binary: frozenset[str]
    """Outputs that are wanted in binary form."""


def describe_tensor(tensor: Tensor) -> dict[str, Any]:
    """Return the protocol's description of an input or output."""
    return {"name": tensor.name, "datatype": OF_ONNX[tensor.type], "shape": list(tensor.shape)}


def read_request(
    body: bytes, header_length: str | None, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> InferRequest:
    """Read a request for inference on tensors.

    Args:
        body: of the request.
        header_length: of the header `Inference-Header-Content-Length`: bytes of JSON before binary data; None: all.
        inputs: that the model takes.
        outputs: that it can give.

    Raises:
        ModelInputError: it breaks the protocol, or is not what the model takes.
    """
    text, rest = _split(body, header_length)
    asked = parse_json(text, "The request", "Send an object with `inputs`.", ModelInputError, ["inputs"])
    name = asked.get("id")
    if name is not None and not isinstance(name, str):
        raise ModelInputError("`id` is no string.")
    given = _objects(asked["inputs"], "inputs")
    known = {tensor.name: tensor for tensor in inputs}
    if sorted(one["name"] for one in given) != sorted(known):
        raise ModelInputError(f"The inputs are {_names(given)}; the model takes {', '.join(known)}, each once.")
    feeds: dict[str, Array] = {}
    for one in given:
        feeds[one["name"]], rest = _read_tensor(one, known[one["name"]], rest)
    if rest:
        raise ModelInputError(
            f"{amount(len(rest), 'byte follows', 'bytes follow')} the last input; binary_data_size names too few."
        )
    if len({len(array) for array in feeds.values()}) > 1:
        raise ModelInputError("The first sizes of the inputs differ: they are faces, and as many in each input.")
    return InferRequest(name, feeds, *_wanted(asked, [tensor.name for tensor in outputs]))


def write_answer(request: InferRequest, found: Mapping[str, Array], about: Mapping[str, str]) -> tuple[bytes, int]:
    """Write the answer: its bytes, and how many of them are JSON before binary data; 0: all of them.

    Args:
        request: that is answered.
        found: arrays by output.
        about: `model_name` and `model_version`.

    Raises:
        ModelInputError: a value is not finite, which JSON cannot say.
    """
    described, blobs = [], []
    for name in request.outputs:
        kind = next(kind for kind, type_ in DATATYPES.items() if np.dtype(type_) == found[name].dtype)
        one: dict[str, Any] = {"name": name, "datatype": kind, "shape": list(found[name].shape)}
        if name in request.binary:
            blobs.append(np.ascontiguousarray(found[name], DATATYPES[kind]).tobytes())
            one["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            one["data"] = found[name].ravel().tolist()
        described.append(one)
    answer = {**about, **({} if request.id is None else {"id": request.id}), "outputs": described}
    try:
        text = json.dumps(answer, allow_nan=False).encode()
    except ValueError:
        raise ModelInputError("An output is not finite, which JSON cannot say. Ask for binary data.") from None
    return text + b"".join(blobs), len(text) if blobs else 0


def _split(body: bytes, header_length: str | None) -> tuple[bytes, bytes]:
    if header_length is None:
        return body, b""
    if not (header_length.isascii() and header_length.isdigit() and int(header_length[:20]) <= len(body)):
        raise ModelInputError(f"Inference-Header-Content-Length does not fit a body of {len(body)} bytes.")
    return body[: int(header_length)], body[int(header_length) :]


def _objects(value: Any, key: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) for one in value
    ):
        raise ModelInputError(f"`{key}` is no list of objects with a `name`.")
    return value


def _names(given: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(one["name"][:50] for one in given[:10]) or "none"


def _parameters(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    found = holder.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ModelInputError("`parameters` is no object.")
    return found


def _flag(parameters: Mapping[str, Any], key: str, default: bool) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise ModelInputError(f"The parameter {key} is neither true nor false.")
    return value


def _wanted(asked: Mapping[str, Any], known: Sequence[str]) -> tuple[list[str], frozenset[str]]:
    usual = _flag(_parameters(asked), "binary_data_output", False)
    given = asked.get("outputs")
    wanted = [{"name": name} for name in known] if not given else _objects(given, "outputs")
    names = [one["name"] for one in wanted]
    if len(set(names)) < len(names) or not set(names) <= set(known):
        raise ModelInputError(f"The outputs are {_names(wanted)}; the model gives {', '.join(known)}, each once.")
    return names, frozenset(one["name"] for one in wanted if _flag(_parameters(one), "binary_data", usual))


def _read_tensor(given: Mapping[str, Any], tensor: Tensor, rest: bytes) -> tuple[Array, bytes]:
    """Return the array of one input, and the binary data that follows its own."""
    name, kind, shape = tensor.name, OF_ONNX[tensor.type], given.get("shape")
    if given.get("datatype") != kind:
        raise ModelInputError(f"The input {name} has the datatype {str(given.get('datatype'))[:20]}; it takes {kind}.")
    if not isinstance(shape, list) or not all(type(size) is int and 0 < size < 2**31 for size in shape):
        raise ModelInputError(f"The shape of the input {name} is no list of sizes.")
    if len(shape) != len(tensor.shape) or any(
        fixed not in (-1, size) for size, fixed in zip(shape, tensor.shape, strict=True)
    ):
        raise ModelInputError(f"The input {name} has the shape {str(shape)[:80]}; it takes {list(tensor.shape)}.")
    dtype = np.dtype(DATATYPES[kind])
    size = _parameters(given).get("binary_data_size")
    if size is None:
        return _from_json(given.get("data"), name, dtype, shape), rest
    if "data" in given or type(size) is not int or size != math.prod(shape) * dtype.itemsize or size > len(rest):
        raise ModelInputError(
            f"The input {name} needs {amount(math.prod(shape) * dtype.itemsize, 'byte')} of binary data, and no "
            f"`data`; binary_data_size is {str(size)[:20]}, and {amount(len(rest), 'byte is', 'bytes are')} left."
        )
    return np.frombuffer(rest, dtype, math.prod(shape)).reshape(shape), rest[size:]


def _from_json(data: Any, name: str, dtype: np.dtype[Any], shape: Sequence[int]) -> Array:
    """Return an array from nested lists, or one flat list, in row-major order."""
    if not isinstance(data, list):
        raise ModelInputError(f"The input {name} has no list `data`.")
    try:
        values = np.array(data)
    except ValueError:
        raise ModelInputError(f"The lists of the input {name} differ in length.") from None
    if values.shape not in ((math.prod(shape),), tuple(shape)):
        raise ModelInputError(f"The data of the input {name} has the shape {values.shape}, not {tuple(shape)} or flat.")
    allowed = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}[dtype.kind]
    if values.dtype.kind not in allowed:
        raise ModelInputError(f"The data of the input {name} holds other values than {dtype.name}.")
    if dtype.kind in "iu" and (values.min() < np.iinfo(dtype).min or values.max() > np.iinfo(dtype).max):
        raise ModelInputError(f"The data of the input {name} holds values beyond {dtype.name}.")
    with np.errstate(over="ignore"):
        found = np.asarray(values, dtype).reshape(shape)
    if dtype.kind == "f" and not np.isfinite(found).all():
        raise ModelInputError(f"The data of the input {name} holds values beyond {dtype.name}.")
    return found
