"""IR and IR-SE backbones (He et al. 2016 in the "improved residual" form of ArcFace, section 3.2.2).

Parameter names are those of the published AdaFace implementation, so that its checkpoints load.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from oaml_core.models.backbone import Backbone, initialise, output_layer
from oaml_core.registry import register_backbone


@dataclass(frozen=True)
class Architecture:
    """Blocks of the four stages and the kind of block."""

    blocks: tuple[int, int, int, int]
    bottleneck: bool = False
    squeeze: bool = False
    early_stride: bool = False
    """Halve the image in the first convolution, and not in the last stage: a fraction of the work."""
    projected: bool = False
    """Put a convolution into the shortcut wherever a block has a stride, as InsightFace's iresnet does; otherwise only
    where the number of channels changes."""


ARCHITECTURES = {
    "ir_mini": Architecture((1, 1, 1, 1), early_stride=True),
    "ir_18": Architecture((2, 2, 2, 2)),
    "ir_34": Architecture((3, 4, 6, 3)),
    "ir_50": Architecture((3, 4, 14, 3)),
    "ir_101": Architecture((3, 13, 30, 3)),
    "ir_152": Architecture((3, 8, 36, 3), bottleneck=True),
    "ir_200": Architecture((3, 24, 36, 3), bottleneck=True),
    "ir_se_50": Architecture((3, 4, 14, 3), squeeze=True),
    "ir_se_101": Architecture((3, 13, 30, 3), squeeze=True),
    "iresnet_18": Architecture((2, 2, 2, 2), projected=True),
    "iresnet_34": Architecture((3, 4, 6, 3), projected=True),
    "iresnet_50": Architecture((3, 4, 14, 3), projected=True),
    "iresnet_100": Architecture((3, 13, 30, 3), projected=True),
    "iresnet_200": Architecture((6, 26, 60, 6), projected=True),
}
PUBLISHED_WIDTH = 64
EMBEDDING_SIZE = 512
SQUEEZE_REDUCTION = 16


class SqueezeExcitation(nn.Module):
    """Channel gate (Hu et al. 2018), [B, C, h, w] to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, channels // SQUEEZE_REDUCTION, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(channels // SQUEEZE_REDUCTION, channels, 1, bias=False)
        self.sigmoid = nn.Sigmoid()
        nn.init.xavier_uniform_(self.fc1.weight)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x * self.sigmoid(self.fc2(self.relu(self.fc1(self.avg_pool(x)))))
        return result


class ImprovedResidual(nn.Module):
    """Block BN – Conv – BN – PReLU – Conv – BN beside a shortcut; the stride is in the second convolution.

    `bottleneck` squeezes to a quarter of the channels between two 1×1 convolutions. `projected` puts a convolution into
    the shortcut of every block with a stride.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int, *, bottleneck: bool, squeeze: bool, projected: bool = False
    ) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module
        if inputs != outputs or (projected and stride > 1):
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut_layer = nn.Sequential(convolution, nn.BatchNorm2d(outputs))
        else:  # a pool without a stride is published: it copies the map, and has no parameters
            self.shortcut_layer = nn.MaxPool2d(1, stride) if stride > 1 else nn.Identity()
        layers: list[nn.Module] = [nn.BatchNorm2d(inputs)]
        if bottleneck:
            inner = outputs // 4
            layers += [nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.PReLU(inner)]
            layers += [nn.Conv2d(inner, inner, 3, 1, 1, bias=False), nn.BatchNorm2d(inner), nn.PReLU(inner)]
            layers += [nn.Conv2d(inner, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)]
        else:
            layers += [nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs), nn.PReLU(outputs)]
            layers += [nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.res_layer = nn.Sequential(*layers)
        if squeeze:
            self.res_layer.add_module("se_block", SqueezeExcitation(outputs))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return result


class IRBackbone(Backbone):
    """An IR network; its feature map has a sixteenth of the image's side.

    Args:
        architecture: its blocks.
        image_size: side of the input in pixels, a multiple of 16.
        width: channels of the first stage; the last one has eight times as many (bottlenecks: 32 times).
        embedding_size: E.
    """

    def __init__(self, architecture: Architecture, *, image_size: int, width: int, embedding_size: int) -> None:
        expansion = 4 if architecture.bottleneck else 1
        stages = [width * factor * expansion for factor in (1, 2, 4, 8)]
        super().__init__(channels=stages[-1], embedding_size=embedding_size, image_size=image_size)
        self.architecture = architecture
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, width, 3, 2 if architecture.early_stride else 1, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.PReLU(width),
        )
        self.output_layer = output_layer(self)
        strides = (2, 2, 2, 1 if architecture.early_stride else 2)
        kind = {name: getattr(architecture, name) for name in ("bottleneck", "squeeze", "projected")}
        blocks, inputs = [], width
        for count, outputs, stride in zip(architecture.blocks, stages, strides, strict=True):
            for number in range(count):
                blocks.append(ImprovedResidual(inputs, outputs, stride if number == 0 else 1, **kind))
                inputs = outputs
        self.body = nn.Sequential(*blocks)
        self.apply(initialise)

    def layers(self) -> list[nn.Module]:
        return [self.input_layer, *self.body]

    def embed(self, feature_map: Tensor) -> Tensor:
        result: Tensor = self.output_layer(feature_map)
        return result


def build_ir(arch: str, *, image_size: int, width: int) -> IRBackbone:
    """Return the IR network called `arch`; `width` is the first stage's of `ir_mini`, the others have the published
    64.
    """
    small = arch == "ir_mini"
    return IRBackbone(
        ARCHITECTURES[arch],
        image_size=image_size,
        width=width if small else PUBLISHED_WIDTH,
        embedding_size=8 * width if small else EMBEDDING_SIZE,
    )


def _register(arch: str) -> None:
    @register_backbone(arch)
    def build(*, image_size: int, width: int) -> IRBackbone:
        return build_ir(arch, image_size=image_size, width=width)


for _arch in ARCHITECTURES:
    _register(_arch)
