"""Which file of an exported model answers where its user allows 8 bits."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from oaml_core.inference import backends
from oaml_core.inference.backends import Backend, OnnxRuntime
from oaml_core.inference.model_files import variant_path
from oaml_core.inference.model_metadata import read_model_metadata

log = logging.getLogger(__name__)


def quickest_file(path: Path, backend: Backend = "auto") -> Path:
    """Return `model.int8.onnx` beside a model if its accuracy is on record and it is quicker; else the model.

    8 bits are quicker by OpenVINO, if the export found that it runs them. By onnxruntime they are where the export
    measured more images per second: on processors with 8-bit instructions. The answer depends
    on files and libraries alone, never on a clock: records of the two files do not compare.

    Args:
        path: `model.onnx`, or a variant, which stays.
        backend: what runs it.

    Raises:
        ExportError: a file cannot be read.
    """
    small = variant_path(path, "int8")
    if not small.is_file():
        log.info("there is no %s beside the model: it answers in float32", small.name)
        return path
    known, whole = _metadata(small), _metadata(path)
    if "tar" not in known:
        log.info("%s has no accuracy on record: the model answers in float32; export it again", small)
        return path
    runs = any(name.startswith("openvino") and "refused" not in one for name, one in known["tar"]["by"].items())
    by_openvino = runs and backend != "onnxruntime" and backends.has_openvino()
    quicker = known.get("images_per_second", 0) > whole.get("images_per_second", float("inf"))
    return small if by_openvino or quicker else path


def _metadata(path: Path) -> dict[str, Any]:
    return read_model_metadata(OnnxRuntime(path, threads=1).metadata.get("oaml", "{}"), path)
