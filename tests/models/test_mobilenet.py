"""SFace's network, and graphs whose weights are whole numbers in blocks, as published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from oaml_core.config import ModelConfig
from oaml_core.errors import CheckpointError
from oaml_core.models.backbone import Backbone
from oaml_core.models.build import build_backbone, build_matcher
from oaml_core.models.pretrained import load_backbone

BLOCK = 16
"""Weights that share a scale."""


def with_statistics() -> Backbone:
    """A network none of whose normalisations is the identity."""
    made = build_backbone("mobilenet").eval()
    generator = torch.Generator().manual_seed(0)
    for name, value in made.state_dict().items():
        if name.endswith(("running_var", ".bias", "running_mean")):
            value.copy_(torch.rand(value.shape, generator=generator) * 0.2 + (0.9 if name.endswith("var") else 0))
    return made


def in_blocks(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Whole numbers [outputs, n] and the scale of each block along the second axis."""
    flat = weight.reshape(len(weight), -1)
    ends = range(0, flat.shape[1], BLOCK)
    scales = np.stack([np.abs(flat[:, start : start + BLOCK]).max(1) / 127 for start in ends], axis=1)
    whole = np.round(flat / scales.repeat(BLOCK, axis=1)[:, : flat.shape[1]]).astype(np.int8)
    return whole, scales.astype(np.float32)


def eight_bit(source: Path, target: Path) -> None:
    """Rewrite the graph's weights as whole numbers, each made into a weight again by two operators, and leave the
    weights' names among the inputs."""
    model = onnx.load(source)
    graph, first = model.graph, []
    for weight in list(graph.initializer):
        value = numpy_helper.to_array(weight)
        if value.ndim not in (2, 4) or value[0].size % BLOCK:
            continue
        whole, scales = in_blocks(value)
        name = weight.name
        graph.initializer.remove(weight)
        graph.initializer.extend(
            [
                numpy_helper.from_array(whole, f"{name}_quantized"),
                numpy_helper.from_array(scales, f"{name}_scales"),
                numpy_helper.from_array(np.zeros_like(scales, np.int8), f"{name}_zero"),
                numpy_helper.from_array(np.array(value.shape), f"{name}_shape"),
            ]
        )
        inputs = [f"{name}_quantized", f"{name}_scales", f"{name}_zero"]
        first += [
            helper.make_node("DequantizeLinear", inputs, [f"{name}_flat"], axis=1, block_size=BLOCK),
            helper.make_node("Reshape", [f"{name}_flat", f"{name}_shape"], [f"{name}_whole"]),
        ]
        for node in graph.node:
            node.input[:] = [f"{name}_whole" if one == name else one for one in node.input]
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape))
    assert len(first) >= 20
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*first, *rest])
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", 21))
    onnx.save(model, target)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Backbone, Path]:
    """A network, and its graph with weights in eight bits."""
    folder = tmp_path_factory.mktemp("published")
    backbone = with_statistics()

    class Raw(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            x = pixels / 127.5 - 1
            for layer in self.backbone.layers():
                x = layer(x)
            return self.backbone.embed(x)

    torch.onnx.export(
        Raw().eval(), (torch.zeros(1, 3, 112, 112),), folder / "whole.onnx", dynamo=True, opset_version=21
    )
    eight_bit(folder / "whole.onnx", folder / "eight.onnx")
    return backbone, folder / "eight.onnx"


def test_weights_in_blocks_of_whole_numbers_are_taken_over(published: tuple[Backbone, Path]) -> None:
    wanted, path = published
    found = build_backbone("mobilenet").eval()
    load_backbone(found, path)
    images = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        same = torch.nn.functional.cosine_similarity(found(images).embedding, wanted(images).embedding)
    assert same.min() > 0.995
    assert found(images).feature_map.shape == (2, 1024, 7, 7)


def test_the_pooled_matcher_starts_as_its_embedding() -> None:
    backbone = with_statistics()
    matcher = build_matcher(
        ModelConfig(arch="mobilenet", matcher="pooled_alone"), backbone.channels, backbone.map_size, backbone
    ).eval()
    images = torch.rand(3, 3, 112, 112, generator=torch.Generator().manual_seed(2)) * 2 - 1
    with torch.no_grad():
        seen = backbone(images)
        ours = matcher.describe(seen.feature_map, torch.ones(3, 1, 7, 7))
    theirs = torch.nn.functional.normalize(seen.embedding, dim=1)
    torch.testing.assert_close(torch.nn.functional.normalize(ours, dim=1), theirs, atol=1e-4, rtol=1e-3)


def test_another_network_is_told_from_it(published: tuple[Backbone, Path]) -> None:
    with pytest.raises(CheckpointError, match=r"eight\.onnx is not of this backbone"):
        load_backbone(build_backbone("mobilefacenet"), published[1])


def test_scales_that_do_not_fit_are_told_with_their_layer(published: tuple[Backbone, Path], tmp_path: Path) -> None:
    model = onnx.load(published[1])
    scales = next(one for one in model.graph.initializer if one.name.endswith("_scales"))
    scales.CopyFrom(numpy_helper.from_array(np.ones((3, 5, 7), np.float32), scales.name))
    onnx.save(model, tmp_path / "damaged.onnx")
    with pytest.raises(CheckpointError, match=r"damaged\.onnx computes \S+, a weight of \S+: only constants are read"):
        load_backbone(build_backbone("mobilenet"), tmp_path / "damaged.onnx")
