"""Strided depthwise convolutions in reduced precision: the same gradients, in float32 inside."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from oaml_core.models.depthwise import DepthwiseConv2d
from oaml_core.models.mobilefacenet import MobileFaceNet
from oaml_core.models.mobilenet import MobileNet

CHANNELS = 16


def passed(layer: nn.Module, image: Tensor, *, half: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Output, and gradients of its squares' mean with regard to image and kernel."""
    image = image.clone().requires_grad_()
    layer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        output = layer(image)
    output.float().square().mean().backward()
    kernel = next(layer.parameters())
    assert image.grad is not None
    assert kernel.grad is not None
    return output.detach(), image.grad, kernel.grad.clone()


@pytest.fixture
def image() -> Tensor:
    return torch.randn(3, CHANNELS, 14, 14, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("stride", [1, 2])
def test_in_float32_it_is_torchs_own_to_the_last_bit(stride: int, image: Tensor) -> None:
    layer = DepthwiseConv2d(CHANNELS, 3, stride, 1)
    plain = nn.Conv2d(CHANNELS, CHANNELS, 3, stride, 1, groups=CHANNELS, bias=False)
    plain.load_state_dict(layer.state_dict())
    for ours, theirs in zip(passed(layer, image, half=False), passed(plain, image, half=False), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("compiled", [False, True])
def test_in_bfloat16_its_gradients_are_those_of_rounded_inputs(compiled: bool, image: Tensor) -> None:
    image = image.bfloat16().float()
    layer = DepthwiseConv2d(CHANNELS, 3, 2, 1)
    expected = passed(layer, image, half=False)
    if compiled:
        layer.compile(backend="aot_eager")
    output, of_image, of_kernel = passed(layer, image, half=True)
    assert output.dtype == torch.bfloat16, "what follows stays in bfloat16"
    assert of_kernel.dtype == torch.float32
    for ours, exact in zip((output.float(), of_image, of_kernel), expected, strict=True):
        # One rounding of the output to 8 bits, and one of its gradient.
        assert (ours - exact).norm() < 2**-7 * exact.norm()


def test_its_products_are_summed_in_float32(image: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    convolved = torch.nn.functional.conv2d
    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda x, *rest: (seen.append(x.dtype), convolved(x, *rest))[1])
    with torch.autocast("cpu", torch.bfloat16):
        DepthwiseConv2d(CHANNELS, 3, 2, 1)(image)
    assert seen == [torch.float32]


@pytest.mark.parametrize("network", [MobileFaceNet, MobileNet])
def test_every_depthwise_convolution_of_both_backbones_is_one(network: type[MobileFaceNet] | type[MobileNet]) -> None:
    layers = [part for part in network(image_size=112).features.modules() if isinstance(part, nn.Conv2d)]
    depthwise = [layer for layer in layers if layer.groups > 1]
    assert depthwise
    assert all(isinstance(layer, DepthwiseConv2d) for layer in depthwise)
