"""Convolution of each channel alone whose gradient is quick in reduced precision on processors too.

oneDNN has no quick gradient of strided depthwise convolutions in bfloat16: on a processor with AMX it takes 8 to 15
times as long as in float32, and a quarter of a training step of MobileFaceNet.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class DepthwiseConv2d(nn.Conv2d):
    """Convolution of each channel alone; with a stride, a processor computes it and its gradient in float32.

    Inputs and outputs keep the type that autocast gives them, so that the layers around it stay in bfloat16.

    Args:
        channels: in and out.
        kernel: side of the kernel.
        stride, padding: as of `nn.Conv2d`.
    """

    def __init__(self, channels: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__(channels, channels, kernel, stride, padding, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == (1, 1) or x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        found: Tensor = _in_float32(
            x.to(torch.get_autocast_dtype("cpu")), self.weight, self.stride[0], int(self.padding[0])
        )
        return found


@torch.library.custom_op("oaml::strided_depthwise", mutates_args=())
def _in_float32(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    # An operator of its own, because torch.compile makes slow code of float32 between layers in bfloat16.
    return _convolved(x.float(), weight.float(), stride, padding).to(x.dtype)


@torch.library.custom_op("oaml::strided_depthwise_backward", mutates_args=())
def _gradients(output: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> tuple[Tensor, Tensor]:
    of_x, of_weight, _ = torch.ops.aten.convolution_backward(
        output.float(),
        x.float(),
        weight.float(),
        None,
        [stride] * 2,
        [padding] * 2,
        [1, 1],
        False,
        [0, 0],
        len(weight),
        [True, True, False],
    )
    return of_x.to(x.dtype), of_weight.to(weight.dtype)


@_in_float32.register_fake
def _shape_of_output(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    return _convolved(x, weight.to(x.dtype), stride, padding)


@_gradients.register_fake
def _shapes_of_gradients(output: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(weight)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, ctx.stride, ctx.padding = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx: Any, output: Tensor) -> tuple[Tensor, Tensor, None, None]:
    x, weight = ctx.saved_tensors
    return *_gradients(output, x, weight, ctx.stride, ctx.padding), None, None


_in_float32.register_autograd(_backward, setup_context=_keep)


def _convolved(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    return functional.conv2d(x, weight, None, stride, padding, 1, len(weight))
