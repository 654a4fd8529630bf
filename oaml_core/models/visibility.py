"""The head that says which places of the feature map show a face."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from oaml_core.errors import ModelInputError
from oaml_core.models.backbone import initialise

SMALLEST_TOTAL = 1e-3
"""Sum of a face's visibility below which it has no mean of visible places."""


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
        self.apply(initialise)

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
        self.apply(initialise)

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


class EarlyVisibilityHead(nn.Module):
    """Head of a visibility map made of an earlier map alone, so that what it says can be hidden from later layers.

    Encoder and decoder with additions between the same resolutions (Ronneberger et al. 2015), each convolution 3×3
    without bias, BN and ReLU behind it:

        C′ → 32  –  32 → 64, stride 2  –  64 → 96, stride 2  –  96 → 96, dilation 2
        enlarged, 96 → 64, + 64  –  enlarged, 64 → 32, + 32  –  Conv3×3 (32 → 1) – sigmoid

    Args:
        earlier_channels: C′.
    """

    WIDTHS = (32, 64, 96)

    def __init__(self, earlier_channels: int) -> None:
        super().__init__()
        self.earlier_channels = earlier_channels
        fine, middle, coarse = self.WIDTHS
        self.fine = _block(earlier_channels, fine)
        self.middle = _block(fine, middle, stride=2)
        self.coarse = nn.Sequential(_block(middle, coarse, stride=2), _block(coarse, coarse, dilation=2))
        self.to_middle = _block(coarse, middle)
        self.to_fine = _block(middle, fine)
        self.last = nn.Conv2d(fine, 1, 3, padding=1)
        self.apply(initialise)

    def forward(self, earlier: Tensor) -> Tensor:
        """Return visibility [B, 1, H, W] in [0, 1] of `earlier` [B, C′, H, W].

        Raises:
            ModelInputError: the map has another number of channels.
        """
        if earlier.ndim != 4 or earlier.shape[1] != self.earlier_channels:
            raise ModelInputError(
                f"The visibility head takes earlier maps [B, {self.earlier_channels}, h, w], not {list(earlier.shape)}."
            )
        fine = self.fine(earlier)
        middle = self.middle(fine)
        middle = middle + self.to_middle(_enlarged(self.coarse(middle), middle))
        fine = fine + self.to_fine(_enlarged(middle, fine))
        result: Tensor = self.last(fine).float().sigmoid()
        return result


def _block(inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _enlarged(maps: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(maps, like.shape[-2:], mode="bilinear", align_corners=False)


def visible_alone(maps: Tensor, visibility: Tensor) -> Tensor:
    """Return maps whose hidden places hold the mean of the face's visible ones: what covers them is gone.

    Args:
        maps: [B, C, H, W].
        visibility: [B, 1, H, W] in [0, 1]; a place that is visible in part is mixed.
    """
    visibility = visibility.to(maps.dtype)
    total = visibility.sum((2, 3), keepdim=True).clamp_min(SMALLEST_TOTAL)
    mean = (maps * visibility).sum((2, 3), keepdim=True) / total
    return mean + (maps - mean) * visibility
