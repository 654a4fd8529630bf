"""The visibility head is the specified one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from oaml_core.errors import ModelInputError
from oaml_core.models.visibility import VisibilityHead


def test_layers_and_number_of_parameters_are_the_specified_ones() -> None:
    head = VisibilityHead(512)
    assert sum(parameter.numel() for parameter in head.parameters()) == 590_209
    assert [type(layer) for layer in head.layers] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d]


def test_weights_start_with_the_deviation_of_kaiming() -> None:
    torch.manual_seed(0)
    first, last = VisibilityHead(512).layers[0], VisibilityHead(512).layers[3]
    assert isinstance(first, nn.Conv2d)
    assert isinstance(last, nn.Conv2d)
    # √(2 / fan), fan out: 128 channels × 3 × 3.
    assert first.weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.01)
    assert last.bias is not None
    assert last.bias.item() == 0


@pytest.mark.parametrize("size", [(7, 7), (14, 14)])
def test_each_place_gets_a_share(size: tuple[int, int]) -> None:
    found = VisibilityHead(16).eval()(50 * torch.randn(3, 16, *size, generator=torch.Generator().manual_seed(0)))
    assert found.shape == (3, 1, *size)
    assert found.dtype == torch.float32
    assert ((found >= 0) & (found <= 1)).all()


def test_maps_with_other_channels_are_refused() -> None:
    with pytest.raises(ModelInputError, match=r"\[B, 16, h, w\], not \[2, 8, 7, 7\]"):
        VisibilityHead(16)(torch.zeros(2, 8, 7, 7))
