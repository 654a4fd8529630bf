"""The loss that a prior learns from, as one module for data-parallel training."""

from __future__ import annotations

from torch import Tensor, nn

from oaml_core.config import Config
from oaml_core.restoration.edm import drawn_noise, edm_loss, training_noise_levels
from oaml_core.restoration.prior import Prior


class PriorLoss(nn.Module):
    """The prior with its loss."""

    def __init__(self, prior: Prior, config: Config) -> None:
        super().__init__()
        self.prior = prior
        self.config = config.restoration

    def training_step(self, tiles: Tensor, labels: Tensor, seeds: list[int]) -> Tensor:
        """Sum of the weighted squared errors over tiles [b, C, H, W]; labels [b, L]."""
        unit_levels, unit_noise = drawn_noise(seeds, tuple(tiles.shape[1:]))
        sigma = training_noise_levels(unit_levels.to(tiles), self.config.p_mean, self.config.p_std)
        given = labels if self.prior.label_dim else None
        loss = edm_loss(
            lambda x, s: self.prior(x, s, given), tiles, unit_noise.to(tiles), sigma, self.config.sigma_data
        )
        return loss.sum()
