"""Backbones: names and numbers of the published ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from oaml_core.config import Arch
from oaml_core.errors import ConfigError, ModelInputError
from oaml_core.models.backbone import Backbone, build_backbone

DATA = Path(__file__).parents[1] / "data"
SHAPES = json.loads((DATA / "backbone_state_dict_shapes.json").read_text())


def fill(model: Backbone) -> None:
    """Weights by the rule that the reference outputs were made with."""
    state = model.state_dict()
    for number, (name, tensor) in enumerate(state.items()):
        if not tensor.is_floating_point():
            continue
        drawn = np.random.RandomState(1000 + number).standard_normal(tuple(tensor.shape))
        if name.endswith("running_var"):
            drawn = 1 + 0.2 * np.abs(drawn)
        elif tensor.ndim == 1:
            drawn = (1 if name.endswith("weight") else 0) + 0.1 * drawn
        else:
            drawn = drawn * np.sqrt(2 / tensor[0].numel())
        tensor.copy_(torch.from_numpy(drawn))


@pytest.mark.parametrize("arch", sorted(SHAPES))
def test_parameter_names_and_shapes_are_the_published_ones(arch: str) -> None:
    with torch.device("meta"):
        state = build_backbone(arch).state_dict()
    assert {name: list(tensor.shape) for name, tensor in state.items()} == SHAPES[arch]


@pytest.mark.parametrize("arch", ["ir_18", "ir_50"])
def test_outputs_are_the_published_ones(arch: str) -> None:
    reference = np.load(DATA / "backbones.npz")
    model = build_backbone(arch).eval()
    with torch.inference_mode():
        fill(model)
        feature_map, embedding, norm = model(torch.from_numpy(reference["input"]))
    expected = reference[f"{arch}.feature_map_mean_over_space"]
    # Means of maps as large as 1e6 cancel: the tolerance is relative to the largest of them.
    np.testing.assert_allclose(feature_map.mean((2, 3)).numpy(), expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(embedding.numpy(), reference[f"{arch}.embedding"], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(norm.numpy(), reference[f"{arch}.norm"], rtol=1e-3)


def test_squeeze_excitation_gates_each_channel_by_its_mean() -> None:
    block = build_backbone("ir_se_50").body[0].res_layer.se_block
    x = torch.randn(2, 64, 5, 5, generator=torch.Generator().manual_seed(0))
    pooled = x.mean((2, 3))
    hidden = torch.relu(pooled @ block.fc1.weight[:, :, 0, 0].T)
    gate = torch.sigmoid(hidden @ block.fc2.weight[:, :, 0, 0].T)
    torch.testing.assert_close(block(x), x * gate[:, :, None, None])


def test_squeeze_excitation_is_the_published_one() -> None:
    """With the reference weights the gates of ir_se_50 saturate: rounding to float32 alone turns the embedding by up to
    0.2 radians, so the published one is matched by direction; gates that are 1 % off turn it by 0.86 and more."""
    reference = np.load(DATA / "backbones.npz")
    model = build_backbone("ir_se_50").eval()
    with torch.inference_mode():
        fill(model)
        model.double()
        embedding = model(torch.from_numpy(reference["input"]).double()).embedding
    assert (embedding * torch.from_numpy(reference["ir_se_50.embedding"])).sum(1).min() > 0.9


@pytest.mark.parametrize(
    ("arch", "size", "channels"),
    [("ir_mini", 112, 128), ("ir_mini", 224, 128), ("ir_18", 224, 512), ("mobilefacenet", 224, 512)],
)
def test_map_is_a_sixteenth_of_the_image(arch: str, size: int, channels: int) -> None:
    model = build_backbone(arch, image_size=size, width=16).eval()
    with torch.inference_mode():
        feature_map, embedding, norm = model(torch.randn(1, 3, size, size))
    assert feature_map.shape == (1, channels, size // 16, size // 16)
    assert (model.channels, model.map_size) == (channels, (size // 16, size // 16))
    assert embedding.shape == (1, model.embedding_size)
    assert norm.shape == (1, 1)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(1))


def test_wrong_shapes_and_names_are_refused_by_name() -> None:
    with pytest.raises(ModelInputError, match="112"):
        build_backbone("ir_mini")(torch.zeros(1, 3, 96, 112))
    with pytest.raises(ConfigError, match="ir_50"):
        build_backbone("ir50")
    with pytest.raises(ConfigError, match="112 or 224"):
        build_backbone("ir_mini", image_size=128)


@pytest.mark.parametrize("arch", get_args(Arch))
def test_every_backbone_that_a_recipe_can_name_exists(arch: str) -> None:
    with torch.device("meta"):
        model = build_backbone(arch)
    assert model.channels == {"ir_mini": 128, "ir_152": 2048, "ir_200": 2048}.get(arch, 512)
    assert model.embedding_size == {"ir_mini": 128, "mobilefacenet": 128}.get(arch, 512)
