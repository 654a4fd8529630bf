"""Which file of an exported model answers where its user allows 8 bits."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from oaml_core.inference import backends
from oaml_core.inference.backends import Backend, OnnxRuntime
from oaml_core.inference.model_files import variant_path
from oaml_core.inference.model_metadata import read_model_metadata
from oaml_core.inference.onnx_model import OamlOnnx

log = logging.getLogger(__name__)
BROKEN = 0.4
"""Largest |x − y| / |y| of embeddings x of trial faces and float32's y, a mean cosine of 0.92. Thresholds are
float32's: with the weights of a MobileFaceNet rounded to fewer bits, the false accept rate at these was 1.5 times as
high at a distance of 0.31, and 32 times at 0.63. Its file of 8 bits is at 0.14."""


def quickest_file(path: Path, backend: Backend = "auto") -> Path:
    """Return `model.int8.onnx` beside a model if its accuracy is on record and it is quicker; else the model.

    A file whose embeddings of its own trial faces lie farther than `BROKEN` from float32's is passed over.

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
    off = OamlOnnx(small).distance_to_float32()
    if off is not None and off > BROKEN:
        told = "%s is broken: its embeddings differ from float32's by %.2g. Export it again; float32 answers"
        log.warning(told, small, off)
        return path
    runs = any(name.startswith("openvino") and "refused" not in one for name, one in known["tar"]["by"].items())
    by_openvino = runs and backend != "onnxruntime" and backends.has_openvino()
    quicker = known.get("images_per_second", 0) > whole.get("images_per_second", float("inf"))
    return small if by_openvino or quicker else path


def _metadata(path: Path) -> dict[str, Any]:
    return read_model_metadata(OnnxRuntime(path, threads=1).metadata.get("oaml", "{}"), path)
