"""Weights of an ONNX graph give the embeddings that the graph gives."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from oaml_core.config import ModelConfig
from oaml_core.data.prepared.verification import open_verification, write_verification
from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.verification import open_verification_source
from oaml_core.errors import CheckpointError
from oaml_core.models.build import build_backbone
from oaml_core.models.onnx_weights import read_onnx
from oaml_core.models.pretrained import load_backbone
from oaml_core.models.recogniser import build_recogniser

SHARED = Path(os.environ.get("OAML_SHARED", Path(__file__).parents[3] / "shared"))
WEIGHTS = SHARED / "weights" / "mobilefacenet_y1.onnx"
FACES = SHARED / "data" / "lfw112"


def test_published_weights_give_the_published_embeddings_of_real_faces(tmp_path: Path) -> None:
    if not (WEIGHTS.is_file() and (FACES / "lfw_val.bin").is_file()):
        pytest.skip(f"{SHARED} is absent: weights and faces are not part of the repository; OAML_SHARED says where")
    source = open_verification_source(LocalFolder(FACES), "lfw_val", "lfw_val.bin")
    write_verification(source, tmp_path, image_size=112)
    images = np.array(open_verification(tmp_path, "lfw_val").images[:64]).transpose(0, 3, 1, 2)
    graph = onnxruntime.InferenceSession(WEIGHTS)
    (published,) = graph.run(None, {graph.get_inputs()[0].name: images.astype(np.float32)})

    model = build_recogniser(ModelConfig(arch="mobilefacenet", weights=str(WEIGHTS))).eval()
    with torch.inference_mode():
        features = model(torch.from_numpy(images))

    np.testing.assert_allclose((features.embedding * features.norm).numpy(), published, atol=1e-3)
    assert features.feature_map.shape == (64, 512, 7, 7)


def graph_of(layers: nn.Sequential, path: Path, *, grey: float = 127.5, drop: str | None = None) -> None:
    """`layers` (Conv2d, BatchNorm2d, PReLU) as an ONNX graph that takes pixels from 0 to 255."""
    convolution, norm = layers[0], layers[1]
    state = {name: tensor.numpy() for name, tensor in layers.state_dict().items()}
    constants: dict[str, NDArray] = {"grey": np.float32(grey), "scale": np.float32(1 / 128), "w": state["0.weight"]}
    constants |= {n: state[f"1.{n}"] for n in ("weight", "bias", "running_mean", "running_var")}
    constants["slope"] = state["2.weight"].reshape(-1, 1, 1)
    nodes = [
        helper.make_node("Sub", ["x", "grey"], ["a"]),
        helper.make_node("Mul", ["a", "scale"], ["b"]),
        helper.make_node("Conv", ["b", "w"], ["c"], pads=[1] * 4, kernel_shape=[3, 3]),
        helper.make_node(
            "BatchNormalization",
            ["c", "weight", "bias", "running_mean", "running_var"],
            ["d"],
            epsilon=norm.eps,
        ),
        helper.make_node("PRelu", ["d", "slope"], ["y"]),
    ]
    size = [None, 3, 8, 8]
    graph = helper.make_graph(
        [node for node in nodes if node.op_type != drop],
        "layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, convolution.out_channels, 8, 8])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def layers() -> nn.Sequential:
    made = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.PReLU(4))
    generator = torch.Generator().manual_seed(0)
    for tensor in made.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator))
    return made.eval()


def test_the_normalisation_of_pixels_is_folded_into_the_first_convolution(tmp_path: Path) -> None:
    graph_of(layers(), tmp_path / "layers.onnx")
    ours = layers()
    ours.load_state_dict(ours.state_dict() | read_onnx(ours, tmp_path / "layers.onnx"))
    pixels = torch.randint(0, 256, (2, 3, 8, 8), generator=torch.Generator().manual_seed(1)).float()
    (expected,) = onnxruntime.InferenceSession(tmp_path / "layers.onnx").run(None, {"x": pixels.numpy()})
    with torch.inference_mode():
        np.testing.assert_allclose(ours(pixels / 127.5 - 1).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_graphs_that_cannot_be_taken_over_are_refused_by_layer(tmp_path: Path) -> None:
    graph_of(layers(), tmp_path / "order.onnx", drop="BatchNormalization")
    with pytest.raises(CheckpointError, match=r"order\.onnx .*\(PRelu\).*1 \(BatchNormalization\)"):
        read_onnx(layers(), tmp_path / "order.onnx")
    graph_of(layers(), tmp_path / "short.onnx", drop="PRelu")
    with pytest.raises(CheckpointError, match="2 layers with weights, the backbone 3"):
        read_onnx(layers(), tmp_path / "short.onnx")
    graph_of(layers(), tmp_path / "grey.onnx", grey=100.0)
    with pytest.raises(CheckpointError, match=r"pixels about 100, not 127\.5"):
        read_onnx(layers(), tmp_path / "grey.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"\xff" * 64)
    with pytest.raises(CheckpointError, match="cannot be read as ONNX"):
        load_backbone(build_backbone("ir_mini", width=8), tmp_path / "broken.onnx")
