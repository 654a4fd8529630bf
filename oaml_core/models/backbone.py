"""What a backbone is, and the one that a configuration names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from oaml_core.errors import ModelInputError

SHORTEST = 1e-6
"""Length below which an embedding has no direction: a unit vector made from it would be rounding noise."""


class BackboneOutput(NamedTuple):
    """Feature map [B, C, h, w], unit-length embedding [B, E], its norm [B, 1] before normalisation.

    `earlier` is what the backbone's last `give_input_of_last` layers were given; None where that is 0.

    An embedding shorter than `SHORTEST` has no direction: it is given as it is, next to zero, with finite gradients.
    """

    feature_map: Tensor
    embedding: Tensor
    norm: Tensor
    earlier: Tensor | None = None


class Backbone(nn.Module, ABC):
    """A network that describes square aligned faces by an embedding and a feature map.

    Attributes:
        channels: C of the feature map.
        map_size: (h, w) of the feature map: the image's side / 16.
        embedding_size: E.
        image_size: side of the input in pixels.
        give_input_of_last: number of layers at the end whose input is given out too, for copies of them.
    """

    def __init__(self, *, channels: int, embedding_size: int, image_size: int) -> None:
        super().__init__()
        self.channels = channels
        self.embedding_size = embedding_size
        self.image_size = image_size
        self.map_size = (image_size // 16, image_size // 16)
        self.give_input_of_last = 0

    @abstractmethod
    def layers(self) -> list[nn.Module]:
        """Return the layers that turn images into the feature map [B, C, h, w], in order."""

    @abstractmethod
    def embed(self, feature_map: Tensor) -> Tensor:
        """Embedding [B, E], not normalised, of a feature map."""

    def forward(self, images: Tensor) -> BackboneOutput:
        """Describe `images`, RGB, float [B, 3, S, S] in [-1, 1].

        Raises:
            ModelInputError: another shape or type, or images on another device than the weights.
        """
        self._check(images)
        layers = self.layers()
        x, earlier = images, None
        for number, layer in enumerate(layers):
            if number == len(layers) - self.give_input_of_last:
                earlier = x
            x = layer(x)
        return BackboneOutput(x, *unit_length(self.embed(x)), earlier)

    def input_of_last(self, images: Tensor) -> Tensor:
        """Return what the last `give_input_of_last` layers take, and leave those out; `images` as for `forward`."""
        self._check(images)
        layers = self.layers()
        for layer in layers[: len(layers) - self.give_input_of_last]:
            images = layer(images)
        return images

    def _check(self, images: Tensor) -> None:
        expected = (3, self.image_size, self.image_size)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise ModelInputError(
                f"The backbone takes images [B, {', '.join(map(str, expected))}], not {list(images.shape)}: align and "
                f"resize faces to {self.image_size}×{self.image_size} and put the colour axis second."
            )
        if not images.is_floating_point():
            raise ModelInputError(f"The backbone takes floats in [-1, 1], not {images.dtype}: use pixels / 127.5 - 1.")
        device = next(self.parameters()).device
        if images.device != device:
            raise ModelInputError(f"The images are on {images.device}, the backbone on {device}. Move them to one.")


def output_layer(backbone: Backbone, *, epsilon: float = 1e-5, affine: bool = False) -> nn.Sequential:
    """Build the layers that turn a feature map [B, C, h, w] into an embedding [B, E]: ArcFace, section 3.2.2.

    Args:
        backbone: says C, h, w and E.
        epsilon: ε of both batch normalisations.
        affine: True if the last one learns scale and shift.
    """
    (height, width), channels, size = backbone.map_size, backbone.channels, backbone.embedding_size
    return nn.Sequential(
        nn.BatchNorm2d(channels, eps=epsilon),
        nn.Dropout(0.4),
        nn.Flatten(),
        nn.Linear(channels * height * width, size),
        nn.BatchNorm1d(size, eps=epsilon, affine=affine),
    )


def unit_length(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Return `raw` [B, E] at unit length and its norm [B, 1], both float32, since squares in half precision
    overflow."""
    raw = raw.float()
    norm = torch.linalg.vector_norm(raw, dim=1, keepdim=True)
    return raw / norm.where(norm > SHORTEST, 1.0), norm


def initialise(module: nn.Module) -> None:
    """He initialisation of what has weights, as published."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
