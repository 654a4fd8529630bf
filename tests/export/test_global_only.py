"""Recognisers of many shapes are wrapped as models of ours, and damaged ones are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from oaml_core.errors import ExportError
from oaml_core.export.global_only import Foreign, wrap_recogniser
from oaml_core.inference.onnx_model import OamlOnnx
from tests.onnx_shapes import SIZE, graph


@pytest.mark.parametrize(
    "shape",
    [
        {"last": True},
        {"last": True, "batch": 1},
        {"kind": TensorProto.FLOAT16},
        {"kind": TensorProto.UINT8, "tail": 1},
        {"tail": 2, "norm": True},
    ],
)
def test_every_shape_gives_the_embeddings_of_the_plain_one(shape: dict[str, Any], tmp_path: Path) -> None:
    faces = np.random.default_rng(0).integers(0, 255, (3, SIZE, SIZE, 3), dtype=np.uint8)
    found = []
    for name, options in (("plain", {}), ("other", shape)):
        source = graph(tmp_path / f"{name}.onnx", **options)
        wrap_recogniser(source, tmp_path / f"{name}-wrapped.onnx", Foreign("MIT", "bytes", "bgr"))
        found.append(OamlOnnx(tmp_path / f"{name}-wrapped.onnx").records(faces))
    np.testing.assert_allclose(found[0].embedding, found[1].embedding, atol=2e-3)
    np.testing.assert_allclose(found[0].norm, found[1].norm, rtol=2e-3)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"factor": float("nan")}, "NaN or infinite: its weights are damaged"),
        ({"extra": "read"}, "has inputs .*points"),
        ({"size": (SIZE, 24)}, r"\[N, 3, S, S\] or \[N, S, S, 3\] is needed"),
    ],
)
def test_what_cannot_be_wrapped_is_named_and_not_written(shape: dict[str, Any], said: str, tmp_path: Path) -> None:
    source = graph(tmp_path / "source.onnx", **shape)
    with pytest.raises(ExportError, match=said):
        wrap_recogniser(source, tmp_path / "wrapped.onnx", Foreign("MIT"))
    assert [path.name for path in tmp_path.iterdir()] == ["source.onnx"]
