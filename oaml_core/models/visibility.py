"""The head that says which places of the feature map show a face."""

from __future__ import annotations

from torch import Tensor, nn

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
