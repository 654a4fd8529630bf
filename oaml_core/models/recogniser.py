"""Backbone, visibility head and matcher in one module."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from oaml_core.amounts import amount
from oaml_core.config import ModelConfig
from oaml_core.errors import ConfigError, ModelInputError
from oaml_core.models.backbone import Backbone
from oaml_core.models.build import build_backbone, build_matcher
from oaml_core.models.features import Features
from oaml_core.models.matcher import Matcher
from oaml_core.models.modes import evaluating
from oaml_core.models.pretrained import load_backbone
from oaml_core.models.visibility import EarlyVisibilityHead, FineVisibilityHead, VisibilityHead, visible_alone


class Recogniser(nn.Module):
    """Describes faces globally and locally, and says what of them is visible.

    Args:
        backbone, visibility_head, matcher: its parts; the matcher is used on feature maps, not in `forward`.
        visibility_trains_backbone: let the gradient of the visibility map reach the backbone.
        local_layers: so many of the backbone's last layers are there once more, with weights of their own, and make
            the feature map that matcher and visibility head see; 0: they see the backbone's. An early visibility head
            comes before them, and what it says is covered is hidden from them.

    Raises:
        ConfigError: the backbone has fewer layers than that.
    """

    def __init__(
        self,
        backbone: Backbone,
        visibility_head: VisibilityHead | FineVisibilityHead | EarlyVisibilityHead,
        matcher: Matcher,
        *,
        visibility_trains_backbone: bool = False,
        local_layers: int = 0,
        freeze_backbone: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.visibility_head = visibility_head
        self.matcher = matcher
        self.visibility_trains_backbone = visibility_trains_backbone
        layers = backbone.layers()
        if not 0 <= local_layers < len(layers):
            raise ConfigError(
                f"model.local_layers is {local_layers}; this backbone has {amount(len(layers), 'layer')}, of "
                f"which the last 0 … {len(layers) - 1} can be there twice."
            )
        backbone.give_input_of_last = local_layers
        self.local_layers = nn.Sequential(*map(deepcopy, layers[-local_layers:])) if local_layers else None
        self.freeze_backbone = freeze_backbone
        self.learns_locally_alone = False
        """In training the embedding is left out, [B, 0], with the backbone's last layers: nothing learns from them."""
        self._lent: Callable[[Tensor], Tensor] | None = None  # the compiled way to the input of the local layers
        backbone.requires_grad_(not freeze_backbone)

    def __getstate__(self) -> dict[str, Any]:
        # A compiled function knows the weights it was made for: a copy would go on using the original's.
        return {**super().__getstate__(), "_lent": None}  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> Recogniser:
        super().train(mode)
        if self.freeze_backbone:
            self.backbone.eval()
            if self.local_layers is not None:
                # The copied layers normalise as the backbone does: batches of covered faces would move them away.
                self.local_layers.eval()
        return self

    def compile_parts(self) -> None:
        """Let torch.compile take the layers that training passes through."""
        if self.local_layers is not None:
            self.local_layers.compile()
        self.visibility_head.compile()
        if self.local_layers is not None and self.learns_locally_alone:
            self._lent = torch.compile(self.backbone.input_of_last)
        if self.local_layers is None or not self.learns_locally_alone:
            self.backbone.compile()

    @torch.no_grad()
    def describe_globally(self, images: Tensor) -> Tensor:
        """Return the backbone's embeddings [B, E] at unit length, as in evaluation and without gradient.

        Args:
            images: see `forward`.

        Raises:
            ModelInputError: another shape or type.
        """
        with evaluating(self.backbone):
            result: Tensor = self.backbone(scaled(images)).embedding
            return result

    def forward(self, images: Tensor) -> Features:
        """Describe `images`, RGB [B, 3, S, S], uint8 or float in [-1, 1].

        Raises:
            ModelInputError: another shape or type.
        """
        images = scaled(images)
        with torch.no_grad() if self.freeze_backbone else nullcontext():
            if self.training and self.learns_locally_alone and self.local_layers is not None:
                feature_map = earlier = (self._lent or self.backbone.input_of_last)(images)
                embedding = norm = images.new_zeros(len(images), 0)
            else:
                feature_map, embedding, norm, earlier = self.backbone(images)
        if isinstance(self.visibility_head, EarlyVisibilityHead):
            assert self.local_layers is not None  # the configuration saw to it
            visibility = self.visibility_head(earlier if self.visibility_trains_backbone else earlier.detach())
            shown = visible_alone(earlier, visibility.detach())
            return Features(self.local_layers(shown), embedding, norm, visibility)
        if self.local_layers is not None:
            feature_map = self.local_layers(earlier)
        seen = feature_map if self.visibility_trains_backbone else feature_map.detach()
        if isinstance(self.visibility_head, FineVisibilityHead):
            return Features(feature_map, embedding, norm, self.visibility_head(seen, earlier.detach()))
        return Features(feature_map, embedding, norm, self.visibility_head(seen))


def scaled(images: Tensor) -> Tensor:
    """Return images as floats in [-1, 1]; uint8 ones are scaled, floats stay as they are.

    Raises:
        ModelInputError: they are of another type.
    """
    if images.dtype == torch.uint8:
        return images.float() / 127.5 - 1
    if not images.is_floating_point():
        raise ModelInputError(f"Images are uint8, or float in [-1, 1]; not {images.dtype}.")
    return images


def build_recogniser(config: ModelConfig, image_size: int = 112) -> Recogniser:
    """Return the recogniser that `config` describes: the backbone from `config.weights` if given, the rest fresh.

    Raises:
        ConfigError: there is no such backbone or matcher. CheckpointError: the weights are not of this backbone.

    Example:
        >>> import torch
        >>> import oaml_core as oaml
        >>> recogniser = oaml.build_recogniser(oaml.Config().model.__class__(arch="ir_mini", width=4)).eval()
        >>> recogniser(torch.zeros(2, 3, 112, 112)).visibility.shape
        torch.Size([2, 1, 7, 7])
    """
    backbone = build_backbone(config.arch, image_size=image_size, width=config.width)
    if config.weights is not None:
        load_backbone(backbone, Path(config.weights), channel_order=config.weights_channel_order)
    matcher = build_matcher(config, backbone.channels, backbone.map_size, backbone)
    fine = config.visibility_map != "coarse"
    return Recogniser(
        backbone,
        _fine_head(backbone, config) if fine else VisibilityHead(backbone.channels),
        matcher,
        visibility_trains_backbone=config.visibility_trains_backbone,
        local_layers=config.local_layers,
        freeze_backbone=config.freeze_backbone,
    )


@torch.no_grad()
def _fine_head(backbone: Backbone, config: ModelConfig) -> FineVisibilityHead | EarlyVisibilityHead:
    """Return a head for the map that the last `local_layers` layers of `backbone` take."""
    backbone.give_input_of_last = config.local_layers
    with evaluating(backbone):
        channels = backbone.input_of_last(torch.zeros(1, 3, backbone.image_size, backbone.image_size)).shape[1]
    if config.visibility_map == "early":
        return EarlyVisibilityHead(channels)
    return FineVisibilityHead(backbone.channels, channels)
