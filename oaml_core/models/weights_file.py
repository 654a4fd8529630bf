"""Read files of weights that other tools wrote, and run nothing that is pickled in them.

Checkpoints of Lightning 1.x keep hyper-parameters and callbacks as objects beside the weights. Objects of known record
classes are read as records without behaviour; any other object is refused by the name of its class.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from oaml_core.errors import CheckpointError
from oaml_core.models.tensor_archive import load_tensors

RECORDS = (
    *("pytorch_lightning.", "lightning.", "lightning_fabric.", "lightning_utilities."),
    *("argparse.Namespace", "types.SimpleNamespace", "omegaconf.", "easydict.EasyDict", "yacs.config.CfgNode"),
    *("ml_collections.", "pathlib.", "numpy.core.multiarray.", "numpy._core.multiarray.", "numpy.dtype"),
    *("numpy.dtypes.", "numpy.ndarray", "_codecs.encode", "typing."),
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("dict", "list", "int", "str", "float")),
)
"""Beginnings of names of classes that training tools store beside weights. None of them is imported or called."""
MAPPINGS = ("AttributeDict", "EasyDict", "CfgNode")
"""Ends of the names in `RECORDS` that are subclasses of dict: pickles fill them item by item."""
REMEDY = "Nothing in the file was run. Ask its publisher for .safetensors, or for a file of the state dict alone."
NAMED = 5
"""Names that an error lists."""
HEAD = 64
"""Bytes at the start of a file that tell what it is."""
NO_WEIGHTS = {
    b"version https://git-lfs": "the pointer of Git LFS in place of the weights; `git lfs pull` fetches them",
    b"<!doctype": "a web page, not weights",
    b"<html": "a web page, not weights",
}
"""Remains of downloads in place of weights, by their first bytes in lower case."""
OTHER_FORMATS = {
    b"\x1f\x8b": "a gzip file: unpack it",
    b"\x89hdf\r\n": "an HDF5 file of Keras or MATLAB",
    b"<?xml": "XML, as OpenVINO has it beside its .bin",
    b"7767517": "a model of ncnn",
    b"ptrt": "an engine of TensorRT",
    b"\x93numpy": "an array of NumPy",
}
"""Formats that are not read as weights, by their first bytes in lower case."""
ONNX_VERSIONS = range(1, 32)
"""Second byte of an ONNX file, after the mark of its first field."""


class IgnoredObject:
    """Stand-in for a pickled object beside the weights: it takes whatever the pickle gives and does nothing."""

    def __init__(self, *content: object) -> None:
        self.content = content

    def __new__(cls, *_: object) -> IgnoredObject:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        self.state = state


def read_weights_file(path: Path) -> Any:
    """Read `.safetensors`, or what `torch.save` wrote, by the content and not by the ending.

    Args:
        path: of the file.

    Returns:
        Tensors by name, or whatever holds them.

    Raises:
        CheckpointError: the file is damaged, or holds objects of other classes than `RECORDS`, which are named.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        if kind := next((kind for start, kind in NO_WEIGHTS.items() if head.lower().startswith(start)), None):
            raise CheckpointError(f"{path} is {kind}. Download the weights again.")
        if other := _other_format(head):
            raise CheckpointError(f"{path} is {other}. Weights of torch, .safetensors and .onnx are read.")
        if head[8:9] == b"{":  # behind the length of its header: safetensors, whatever the file is called
            from safetensors.torch import load_file

            return load_file(path)
        with torch.serialization.safe_globals([(_stand_in(name), name) for name in _records_in(path)]):
            return load_tensors(path)
    except CheckpointError:
        raise
    except Exception as error:  # each kind of damage raises its own error
        # Torch's own words advise to run what the file holds, and are not passed on.
        raise CheckpointError(
            f"{path} cannot be read as weights: it is cut off, damaged, or holds more than tensors and plain values "
            f"({type(error).__name__}). {REMEDY}"
        ) from error


def _other_format(head: bytes) -> str:
    """Return what a file is by its first bytes, with the remedy; empty if it may hold weights."""
    if head[:1] == b"\x08" and head[1:2] and head[1] in ONNX_VERSIONS:
        return "an ONNX file by its content: give it the ending .onnx"
    if head[4:8] == b"TFL3":
        return "a model of TensorFlow Lite"
    return next((kind for start, kind in OTHER_FORMATS.items() if head.lower().startswith(start)), "")


def _records_in(path: Path) -> list[str]:
    """Return names of the record classes in the file; refuses a file that names anything else."""
    try:
        found = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except ValueError:  # torch's form before 1.6, or TorchScript: read without records, or not at all
        return []
    if others := [name for name in found if not name.startswith(RECORDS)]:
        shown = ", ".join(others[:NAMED]) + (", …" if len(others) > NAMED else "")
        raise CheckpointError(f"{path} holds more than weights and records: {shown}. {REMEDY}")
    return found


def _stand_in(name: str) -> type:
    return OrderedDict if name.endswith(MAPPINGS) else IgnoredObject
