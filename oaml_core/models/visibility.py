"""The head that says which places of the feature map show a face."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from oaml_core.errors import ModelInputError


class VisibilityHead(nn.Module):
    """Head of the visibility map: Conv3×3 (C → 128, no bias) – BN – ReLU – Conv1×1 (128 → 1) – sigmoid; 590,209
    parameters at C = 512."""

    HIDDEN = 128

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.layers = nn.Sequential(
            nn.Conv2d(channels, self.HIDDEN, 3, padding=1, bias=False),
            nn.BatchNorm2d(self.HIDDEN),
            nn.ReLU(inplace=True),
            nn.Conv2d(self.HIDDEN, 1, 1),
        )
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        bias = self.layers[3].bias
        assert isinstance(bias, Tensor)
        nn.init.zeros_(bias)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Return visibility [B, 1, h, w] in [0, 1] of `feature_map` [B, C, h, w].

        Raises:
            ModelInputError: the map has another number of channels.
        """
        if feature_map.ndim != 4 or feature_map.shape[1] != self.channels:
            raise ModelInputError(
                f"The visibility head takes maps [B, {self.channels}, h, w], not {list(feature_map.shape)}."
            )
        result: Tensor = self.layers(feature_map).float().sigmoid()
        return result


OcclusionHead = VisibilityHead
"""The name that the specification gives the head."""


class FineVisibilityHead(nn.Module):
    """Head of a visibility map at the resolution of an earlier layer, which sees the edges of thin things.

    What the feature map says, brought to the places of the earlier map by bilinear interpolation, stands beside what
    the earlier map says of each place's surroundings:

        Conv1×1 (C → 32), enlarged  ∥  Conv3×3 (C′ → 32)  – BN – ReLU – Conv3×3 (64 → 24, dilation 2) – BN – ReLU –
        Conv3×3 (24 → 1) – sigmoid

    Args:
        channels: C, of the feature map.
        earlier_channels: C′, of the earlier map.
    """

    WIDTH = 32
    HIDDEN = 24

    def __init__(self, channels: int, earlier_channels: int) -> None:
        super().__init__()
        self.channels, self.earlier_channels = channels, earlier_channels
        self.deep = nn.Conv2d(channels, self.WIDTH, 1, bias=False)
        self.shallow = nn.Conv2d(earlier_channels, self.WIDTH, 3, padding=1, bias=False)
        self.layers = nn.Sequential(
            nn.BatchNorm2d(2 * self.WIDTH),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * self.WIDTH, self.HIDDEN, 3, padding=2, dilation=2, bias=False),
            nn.BatchNorm2d(self.HIDDEN),
            nn.ReLU(inplace=True),
            nn.Conv2d(self.HIDDEN, 1, 3, padding=1),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, feature_map: Tensor, earlier: Tensor) -> Tensor:
        """Return visibility [B, 1, H, W] in [0, 1] of `feature_map` [B, C, h, w] and `earlier` [B, C′, H, W].

        Raises:
            ModelInputError: a map has another number of channels.
        """
        for maps, channels, name in (
            (feature_map, self.channels, "feature maps"),
            (earlier, self.earlier_channels, "earlier maps"),
        ):
            if maps.ndim != 4 or maps.shape[1] != channels:
                raise ModelInputError(
                    f"The visibility head takes {name} [B, {channels}, h, w], not {list(maps.shape)}."
                )
        deep = functional.interpolate(self.deep(feature_map), earlier.shape[-2:], mode="bilinear", align_corners=False)
        result: Tensor = self.layers(torch.cat([deep, self.shallow(earlier)], 1)).float().sigmoid()
        return result
