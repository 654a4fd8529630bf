"""Published ONNX recognisers come in many shapes: each is measured like the plain one, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from oaml_core.errors import ExportError
from oaml_core.inference.any_onnx import PlainOnnx
from tests.onnx_shapes import SIZE, graph


@pytest.fixture(scope="module")
def faces() -> Any:
    return np.random.default_rng(0).integers(0, 255, (7, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "shape",
    [
        {"batch": 1},
        {"batch": 4},
        {"batch": 64},
        {"last": True},
        {"last": True, "batch": 3},
        {"kind": TensorProto.FLOAT16},
        {"kind": TensorProto.DOUBLE, "batch": 5},
        {"kind": TensorProto.UINT8},
        {"tail": 2},
        {"norm": True},
        {"norm": True, "tail": 1, "last": True},
        {"extra": "unread"},
        {"extra": "unread", "last": True, "batch": 3},
    ],
)
def test_every_shape_gives_the_embeddings_of_the_plain_one(shape: dict[str, Any], faces: Any, tmp_path: Path) -> None:
    plain = PlainOnnx(graph(tmp_path / "plain.onnx"))
    other = PlainOnnx(graph(tmp_path / "other.onnx", **shape))
    found, wanted = other.records(faces), plain.records(faces)
    np.testing.assert_allclose(found.embedding, wanted.embedding, atol=2e-3)
    np.testing.assert_allclose(found.norm, wanted.norm, rtol=2e-3)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"size": (SIZE, 24)}, "24×32 pixels; faces are square"),
        ({"extra": "read"}, "takes points .* beside the image"),
        ({"kind": TensorProto.INT64}, r"takes tensor\(int64\)"),
    ],
)
def test_other_shapes_are_refused_by_name(shape: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=said):
        PlainOnnx(graph(tmp_path / "other.onnx", **shape))


def test_signed_pixels_are_not_given_as_bytes(tmp_path: Path) -> None:
    path = graph(tmp_path / "bytes.onnx", kind=TensorProto.UINT8)
    with pytest.raises(ExportError, match="raw bytes"):
        PlainOnnx(path, pixels="signed")


def test_all_outputs_that_could_be_the_embedding_are_named(tmp_path: Path) -> None:
    """Class scores beside an embedding are wider than it: who measures must see what was taken."""
    path = graph(tmp_path / "one.onnx", norm=True)
    assert PlainOnnx(path).vectors == ["embedding"]
    model = onnx.load(path)
    model.graph.node.append(onnx.helper.make_node("Concat", ["embedding", "embedding"], ["logits"], axis=1))
    model.graph.output.append(onnx.helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 96]))
    onnx.save(model, path)
    found = PlainOnnx(path)
    assert (found.output, found.vectors) == ("logits", ["embedding", "logits"])


def test_embeddings_that_are_no_numbers_are_refused(faces: Any, tmp_path: Path) -> None:
    model = PlainOnnx(graph(tmp_path / "damaged.onnx", factor=float("nan")))
    with pytest.raises(ExportError, match=r"damaged\.onnx gives embeddings that are NaN"):
        model.records(faces)


def test_a_model_that_fails_on_faces_is_named(tmp_path: Path) -> None:
    # The graph leaves its size open and makes 48 numbers of 32 × 32 pixels alone.
    model = PlainOnnx(graph(tmp_path / "open.onnx", size=("h", "w"), batch=2))
    with pytest.raises(ExportError, match=r"open.onnx (fails on|gives).*faces"):
        model.records(np.zeros((1, model.image_size, model.image_size, 3), dtype=np.uint8))
