"""Files of an exported recogniser: the model, its variants and its matcher lie side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from oaml_core.inference.backends import OnnxRuntime

Variant = Literal["fp16", "int8"]


VARIANTS: tuple[Variant, ...] = ("fp16", "int8")
"""Smaller models that may lie beside `model.onnx`, as `model.<variant>.onnx`."""


def is_oaml_onnx(path: Path) -> bool:
    """Return True if `path` is a model that OAML exported.

    Raises:
        ExportError: it cannot be read.
    """
    return "oaml" in OnnxRuntime(path, threads=1).metadata


def matcher_path(path: Path) -> Path:
    """Return the path of the matcher of `model.onnx` and of its variants `model.<variant>.onnx`:
    `model.matcher.onnx`.
    """
    name = path.name.removesuffix(".onnx")
    for variant in VARIANTS:
        name = name.removesuffix(f".{variant}")
    return path.with_name(f"{name}.matcher.onnx")


def variant_path(path: Path, variant: str) -> Path:
    """Return the path of a variant of `model.onnx`: `model.<variant>.onnx`."""
    return path.with_suffix(f".{variant}.onnx")
