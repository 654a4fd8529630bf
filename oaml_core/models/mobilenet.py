"""MobileNet (Howard et al. 2017, table 1) for aligned faces, in the variant that InsightFace named fmobilenet.

OpenCV's model zoo published SFace (Zhong et al. 2021) with it, under the Apache licence. Layers are registered in the
order in which they compute: the importer of ONNX weights relies on it.
"""

from __future__ import annotations

from torch import Tensor, nn

from oaml_core.models.backbone import Backbone, initialise, output_layer
from oaml_core.models.depthwise import DepthwiseConv2d
from oaml_core.registry import register_backbone

EPSILON = 1e-3
"""ε of batch normalisation, as published; the two around the linear layer have `LAST_EPSILON`."""
LAST_EPSILON = 2e-5
FIRST = 32
"""Channels of the first convolution, which has stride 1: a face of 112 pixels ends as a map of 7×7."""
BLOCKS = (
    (64, 1),
    (128, 2), (128, 1),
    (256, 2), (256, 1),
    (512, 2), *5 * ((512, 1),),
    (1024, 2), (1024, 1),
)  # fmt: skip
"""Channels and stride of each block."""
EMBEDDING_SIZE = 128


class SeparableConvolution(nn.Sequential):
    """Two convolutions: 3×3 on each channel alone with the stride, then 1×1 to `outputs` channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(
            DepthwiseConv2d(inputs, 3, stride, 1),
            nn.BatchNorm2d(inputs, eps=EPSILON),
            nn.PReLU(inputs),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs, eps=EPSILON),
            nn.PReLU(outputs),
        )


class MobileNet(Backbone):
    """Ten million parameters, six of them in the linear layer; feature map [B, 1024, h, w], embedding [B, 128].

    Args:
        image_size: side of the input in pixels, a multiple of 16.
    """

    def __init__(self, *, image_size: int) -> None:
        inputs = [FIRST, *(outputs for outputs, _ in BLOCKS)]
        super().__init__(channels=inputs[-1], embedding_size=EMBEDDING_SIZE, image_size=image_size)
        self.features = nn.Sequential(
            nn.Conv2d(3, FIRST, 3, 1, 1, bias=False),
            nn.BatchNorm2d(FIRST, eps=EPSILON),
            nn.PReLU(FIRST),
            *(SeparableConvolution(taken, *block) for taken, block in zip(inputs, BLOCKS, strict=False)),
        )
        self.output_layer = output_layer(self, epsilon=LAST_EPSILON, affine=True)
        self.apply(initialise)

    def layers(self) -> list[nn.Module]:
        return list(self.features)

    def embed(self, feature_map: Tensor) -> Tensor:
        result: Tensor = self.output_layer(feature_map)
        return result


@register_backbone("mobilenet")
def _mobilenet(*, image_size: int, width: int) -> MobileNet:
    """Build it with its published widths; `width` has no effect."""
    return MobileNet(image_size=image_size)
