"""MobileFaceNet (Chen et al. 2018, table 1), in the variant that InsightFace published as y1.

Layers are registered in the order in which they compute: the importer of ONNX weights relies on it.
"""

from __future__ import annotations

from torch import Tensor, nn

from oaml_core.models.backbone import Backbone, initialise
from oaml_core.models.depthwise import DepthwiseConv2d
from oaml_core.registry import register_backbone

EPSILON = 1e-3
"""ε of batch normalisation, as published; the last one's is `LAST_EPSILON`."""
LAST_EPSILON = 2e-5
CHANNELS = 512
EMBEDDING_SIZE = 128


def convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, *, groups: int = 1, padding: int | None = None
) -> list[nn.Module]:
    """Convolution and batch normalisation."""
    around = kernel // 2 if padding is None else padding
    layer = (
        DepthwiseConv2d(inputs, kernel, stride, around)
        if groups == inputs == outputs
        else nn.Conv2d(inputs, outputs, kernel, stride, around, 1, groups, bias=False)
    )
    return [layer, nn.BatchNorm2d(outputs, eps=EPSILON)]


class DepthWise(nn.Sequential):
    """Three convolutions: 1×1 to `inner` channels, 3×3 on each channel alone with the stride, 1×1 to `outputs` without
    PReLU."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int) -> None:
        super().__init__(
            *convolution(inputs, inner, 1),
            nn.PReLU(inner),
            *convolution(inner, inner, 3, stride, groups=inner),
            nn.PReLU(inner),
            *convolution(inner, outputs, 1),
        )


class Residual(nn.Module):
    """Sum of the input and a `DepthWise` block at stride 1."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.layers = DepthWise(channels, inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.layers(x)
        return result


class MobileFaceNet(Backbone):
    """A million parameters; feature map [B, 512, h, w], embedding [B, 128].

    Args:
        image_size: side of the input in pixels, a multiple of 16.
    """

    def __init__(self, *, image_size: int) -> None:
        super().__init__(channels=CHANNELS, embedding_size=EMBEDDING_SIZE, image_size=image_size)
        self.features = nn.Sequential(
            *convolution(3, 64, 3, 2),
            nn.PReLU(64),
            *convolution(64, 64, 3, groups=64),
            nn.PReLU(64),
            DepthWise(64, 128, 64, 2),
            *(Residual(64, 128) for _ in range(4)),
            DepthWise(64, 256, 128, 2),
            *(Residual(128, 256) for _ in range(6)),
            DepthWise(128, 512, 128, 2),
            *(Residual(128, 256) for _ in range(2)),
            *convolution(128, CHANNELS, 1),
            nn.PReLU(CHANNELS),
        )
        self.embedding = nn.Sequential(
            *convolution(CHANNELS, CHANNELS, self.map_size[0], groups=CHANNELS, padding=0),
            nn.Flatten(),
            nn.Linear(CHANNELS, EMBEDDING_SIZE),
            nn.BatchNorm1d(EMBEDDING_SIZE, eps=LAST_EPSILON),
        )
        self.apply(initialise)

    def layers(self) -> list[nn.Module]:
        return list(self.features)

    def embed(self, feature_map: Tensor) -> Tensor:
        result: Tensor = self.embedding(feature_map)
        return result


@register_backbone("mobilefacenet")
def _mobilefacenet(*, image_size: int, width: int) -> MobileFaceNet:
    """Build it with its published widths; `width` has no effect."""
    return MobileFaceNet(image_size=image_size)
