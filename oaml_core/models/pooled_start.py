"""Pooled matching that starts as the backbone's own embedding layer: uncovered faces get the embedding they had."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oaml_core.errors import ConfigError
from oaml_core.models.backbone import Backbone
from oaml_core.models.backbone_ir import IRBackbone
from oaml_core.models.correlation_weighting import Weighting
from oaml_core.models.matcher import Product
from oaml_core.models.mobilefacenet import MobileFaceNet
from oaml_core.models.mobilenet import MobileNet
from oaml_core.models.pooled import Pooled


@torch.no_grad()
def start_from(
    backbone: Backbone,
    *,
    weighting: Weighting = "evidence",
    product: Product = "fp32",
    kind: type[Pooled] = Pooled,
) -> Pooled:
    """Build a pooled matcher that takes over the backbone's embedding layer exactly.

    Args:
        backbone: MobileFaceNet, MobileNet, or one of the IR family.
        weighting: see `Matcher`.
        product: see `Matcher`.
        kind: class of the matcher.

    Raises:
        ConfigError: the embedding layer of `backbone` is of another kind.
    """
    if not isinstance(backbone, MobileFaceNet | MobileNet | IRBackbone):
        raise ConfigError(
            f"model.matcher pooled starts from the embedding layer of mobilefacenet, mobilenet or the IR backbones; "
            f"{type(backbone).__name__} has another kind. Take model.matcher qaconv."
        )
    matcher = kind(
        backbone.channels,
        backbone.map_size,
        weighting=weighting,
        product=product,
        embedding_size=backbone.embedding_size,
        per_place=not isinstance(backbone, MobileFaceNet),
    )
    if isinstance(backbone, MobileFaceNet):
        _start_from_depthwise(matcher, backbone)
    else:
        _start_from_linear(matcher, backbone)
    return matcher


def _start_from_depthwise(matcher: Pooled, backbone: MobileFaceNet) -> None:
    """Take over a global depthwise convolution and a linear layer: P and w of the matcher's docstring."""
    convolution, first, _, linear, last = backbone.embedding
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(first, nn.BatchNorm2d)
    assert isinstance(linear, nn.Linear)
    assert isinstance(last, nn.BatchNorm1d)
    assert matcher.weight is not None
    inner, first_shift = _affine(first)
    outer, last_shift = _affine(last)
    matcher.weight.copy_((convolution.weight[:, 0] * inner[:, None, None]).flatten(1))
    matcher.projection.copy_(linear.weight * outer[:, None])
    matcher.offset.copy_(outer * (linear.weight @ first_shift + linear.bias) + last_shift)


def _start_from_linear(matcher: Pooled, backbone: IRBackbone | MobileNet) -> None:
    """Take over a linear layer that sees the whole map: P_s of each place."""
    first, _, _, linear, last = backbone.output_layer
    assert isinstance(first, nn.BatchNorm2d)
    assert isinstance(linear, nn.Linear)
    assert isinstance(last, nn.BatchNorm1d)
    inner, first_shift = _affine(first)
    outer, last_shift = _affine(last)
    weight = linear.weight.unflatten(1, (backbone.channels, -1))
    matcher.projection.copy_((weight * inner[:, None] * outer[:, None, None]).permute(2, 0, 1))
    matcher.offset.copy_(outer * (weight.sum(2) @ first_shift + linear.bias) + last_shift)


def _affine(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return factor and shift of a batch normalisation with its running statistics."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = 1 / (norm.running_var + norm.eps).sqrt()
    if not norm.affine:
        return factor, -norm.running_mean * factor
    factor = factor * norm.weight
    return factor, norm.bias - norm.running_mean * factor
