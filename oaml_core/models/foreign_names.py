"""Parameters under the names of other tools' backbones, as ours: InsightFace's iresnet, and AdaFace's and CVLface's IR.

AdaFace and CVLface name parameters as we do, behind prefixes. InsightFace's iresnet (arcface_torch,
`backbones/iresnet.py`) has names of its own, a convolution in the shortcut of its first block, and a bias after its
last normalisation. It is the same network as our `iresnet_` backbones, and no other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from oaml_core.errors import CheckpointError
from oaml_core.models.backbone_ir import ARCHITECTURES, Architecture, IRBackbone

STEM = {"conv1": "input_layer.0", "bn1": "input_layer.1", "prelu": "input_layer.2"}
HEAD = {"bn2": "output_layer.0", "fc": "output_layer.3", "features": "output_layer.4"}
IN_BLOCK = {
    **{name: f"res_layer.{place}" for place, name in enumerate(("bn1", "conv1", "bn2", "prelu", "conv2", "bn3"))},
    **{f"downsample.{place}": f"shortcut_layer.{place}" for place in (0, 1)},
}
"""iresnet's names of a block's layers, and ours."""
BLOCK = re.compile(r"layer([1-4])\.(\d+)\.(.+)")
MARKS = ("layer1.0.bn1.weight", "layer1.0.conv1.weight", "features.running_mean")
"""Names that iresnet has, and no other backbone that is known here."""
PARTS_OF_IRESNET = (*STEM, *HEAD, "layer1", "layer2", "layer3", "layer4")
"""First parts of all names in iresnet."""
PARTS = ("weight", "running_mean", "running_var")
"""Parameters of a normalisation, apart from its bias."""


def is_iresnet(weights: Mapping[str, Tensor]) -> bool:
    """Return True if the names are those of InsightFace's iresnet."""
    return all(name in weights for name in MARKS)


def from_iresnet(backbone: nn.Module, weights: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Give iresnet's parameters the names of `backbone`.

    Args:
        backbone: that will have the parameters.
        weights: by iresnet's names.
        path: of the file, for messages.

    Raises:
        CheckpointError: the backbone is another network; the message says which `model.arch` is the same.
    """
    blocks = _blocks(weights)
    ours = backbone.architecture if isinstance(backbone, IRBackbone) else None
    bottleneck = "layer1.0.conv3.weight" in weights
    if ours is None or not ours.projected or ours.blocks != blocks or bottleneck:
        raise CheckpointError(f"{path} is an iresnet of InsightFace, {_reason(blocks, bottleneck, ours)}")
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        layer, _, parameter = name.rpartition(".")
        if inside := BLOCK.fullmatch(layer):
            stage, number, rest = int(inside[1]), int(inside[2]), inside[3]
            place = sum(blocks[: stage - 1]) + number
            renamed = f"body.{place}.{IN_BLOCK[rest]}" if rest in IN_BLOCK else layer
        else:
            renamed = (STEM | HEAD).get(layer, layer)
        found[f"{renamed}.{parameter}"] = value
    return found


def absorb_affine(weights: dict[str, Tensor], backbone: nn.Module, path: Path) -> None:
    """Take scale and bias of normalisations that have none here into their running statistics, in place.

    With mean m, variance v, scale g > 0 and bias b, `(x - m) / √(v + ε) · g + b` has the mean `m - b √(v + ε) / g` and
    the variance `(v + ε) / g² - ε`. Evaluation is the same to rounding; training computes statistics of its own.

    Raises:
        CheckpointError: a scale is not above 0, or too large for a variance to exist.
    """
    for name, module in backbone.named_modules():
        bias = weights.get(f"{name}.bias")
        if not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) or module.affine or bias is None:
            continue
        own = [weights[key] for what in PARTS if (key := f"{name}.{what}") in weights]
        if len(own) < len(PARTS) or any(value.shape != bias.shape for value in own):
            continue  # what is missing or of another shape is said by name later
        scale, mean, variance = (value.double() for value in own)
        deviation = (variance + module.eps).sqrt() / scale
        if not (scale > 0).all() or not (deviation.square() > module.eps).all():
            raise CheckpointError(
                f"{path} scales its embedding in {name}.weight by values that the backbone cannot have. Give weights "
                "whose last normalisation has the scale 1, as published ones have."
            )
        weights[f"{name}.running_mean"] = (mean - bias.double() * deviation).to(bias.dtype)
        weights[f"{name}.running_var"] = (deviation.square() - module.eps).to(bias.dtype)
        del weights[f"{name}.weight"], weights[f"{name}.bias"]


def _blocks(weights: Mapping[str, Tensor]) -> tuple[int, int, int, int]:
    """Blocks of the four stages."""
    found = [BLOCK.match(name) for name in weights]
    counts = [len({int(one[2]) for one in found if one and one[1] == stage}) for stage in "1234"]
    return counts[0], counts[1], counts[2], counts[3]


def _reason(blocks: tuple[int, ...], bottleneck: bool, ours: Architecture | None) -> str:
    same = [name for name, one in ARCHITECTURES.items() if one.projected and one.blocks == blocks and not bottleneck]
    is_ir = ours is not None and not ours.projected
    why = ", whose first block has a convolution beside it; this one has none there" if is_ir else ""
    has = f"with {blocks} blocks{' of three convolutions' if bottleneck else ''}{why}"
    return f"{has}. {f'Set model.arch to {same[0]}.' if same else 'No backbone here is the same network.'}"
