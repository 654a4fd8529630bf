"""EDM: preconditioning, noise levels of training, and loss (Karras et al. 2022, "Elucidating the Design Space …")."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""D(x; σ): noisy tiles [B, C, H, W] and their noise levels σ [B] → estimates [B, C, H, W] of the clean tiles."""


class Preconditioned(nn.Module):
    """Denoiser D(x; σ) = c_skip·x + c_out·F(c_in·x; c_noise) (equation 7), so that F sees and gives unit variance at
    every σ.

    Args:
        network: F, called with tiles [B, C, H, W], c_noise [B] and, if there are any, labels [B, L].
        sigma_data: standard deviation of the clean tiles.
    """

    def __init__(self, network: Callable[..., Tensor], sigma_data: float = 0.5) -> None:
        super().__init__()
        self.network = network
        self.sigma_data = sigma_data

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """Estimates of the clean tiles, in float32 or the wider type of x.

        Args:
            x: noisy tiles [B, C, H, W].
            sigma: noise levels [B], > 0.
            labels: [B, L]; None: no labels.
        """
        level = sigma.reshape(-1, 1, 1, 1).to(x.dtype)
        total = level.square() + self.sigma_data**2
        c_skip = self.sigma_data**2 / total
        c_out = level * self.sigma_data / total.sqrt()
        c_noise = level.log() / 4
        given = () if labels is None else (labels,)
        f = self.network(x / total.sqrt(), c_noise.flatten(), *given)
        return c_skip * x + c_out * f.to(x.dtype)


def training_noise_levels(unit_normal: Tensor, p_mean: float = -1.2, p_std: float = 1.2) -> Tensor:
    """Log-normal noise levels: ln σ ~ N(p_mean, p_std²) (table 1), from unit normal draws."""
    return (unit_normal * p_std + p_mean).exp()


def edm_loss(denoiser: Denoiser, tiles: Tensor, unit_noise: Tensor, sigma: Tensor, sigma_data: float = 0.5) -> Tensor:
    """Weighted squared error λ(σ)·(D(y + n; σ) − y)², λ = (σ² + σ_data²) / (σ·σ_data)² (equations 2 and 8).

    Args:
        denoiser: D.
        tiles: clean tiles y [B, C, H, W].
        unit_noise: n / σ, unit normal, [B, C, H, W].
        sigma: [B].
        sigma_data: standard deviation of clean tiles.

    Returns:
        [B, C, H, W], not reduced.
    """
    level = sigma.reshape(-1, 1, 1, 1)
    weight = (level.square() + sigma_data**2) / (level * sigma_data).square()
    return weight * (denoiser(tiles + unit_noise * level, sigma) - tiles).square()


def drawn_noise(seeds: list[int], shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return unit normals for noise levels [B] and for noise [B, *shape]; each row depends on its own seed alone.

    So what a tile is trained with does not depend on how many workers share a batch.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    levels = torch.stack([torch.randn((), generator=generator) for generator in generators])
    return levels, torch.stack([torch.randn(shape, generator=generator) for generator in generators])
