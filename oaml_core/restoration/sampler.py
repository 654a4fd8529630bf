"""Heun's method for the probability-flow ODE of EDM (Karras et al. 2022, algorithms 1 and 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from oaml_core.progress import progress
from oaml_core.restoration.edm import Denoiser


@dataclass(frozen=True)
class Stochasticity:
    """Noise that is added back while sampling (algorithm 2); the defaults add none."""

    churn: float = 0.0
    """S_churn: overall amount."""
    sigma_min: float = 0.0
    """S_tmin: below this noise level nothing is added."""
    sigma_max: float = math.inf
    """S_tmax: above it neither."""
    noise: float = 1.0
    """S_noise: standard deviation of the added noise, relative."""

    def gamma(self, sigma: float, steps: int) -> float:
        """Return γ, the relative increase of the noise level at `sigma`."""
        inside = self.sigma_min <= sigma <= self.sigma_max
        return min(self.churn / steps, math.sqrt(2) - 1) if inside else 0.0


def noise_levels(steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> list[float]:
    """Levels σ_0 = sigma_max > … > σ_{steps−1} = sigma_min, and 0 after them (equation 5)."""
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    shares = (i / max(1, steps - 1) for i in range(steps))
    return [*((high + share * (low - high)) ** rho for share in shares), 0.0]


def heun_sample(
    denoiser: Denoiser,
    unit_noise: Tensor,
    levels: list[float],
    stochasticity: Stochasticity | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return one sample for each row of `unit_noise` [B, C, H, W]; float64 there gives float64 throughout.

    Args:
        denoiser: D, or one conditioned on a measurement.
        unit_noise: unit normal draws.
        levels: falling noise levels, 0 last.
        stochasticity: None: deterministic.
        generator: needed where noise is added.
    """
    steps = len(levels) - 1
    x = unit_noise * levels[0]
    for i in progress(range(steps), steps, "sampling"):
        sigma, below = levels[i], levels[i + 1]
        gamma = 0.0 if stochasticity is None else stochasticity.gamma(sigma, steps)
        if gamma > 0 and stochasticity is not None:
            raised = sigma * (1 + gamma)
            added = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device) * stochasticity.noise
            x, sigma = x + added * math.sqrt(raised**2 - sigma**2), raised
        slope = _slope(denoiser, x, sigma)
        euler = x + (below - sigma) * slope
        x = x + (below - sigma) * (slope + _slope(denoiser, euler, below)) / 2 if below > 0 else euler
    return x


def _slope(denoiser: Denoiser, x: Tensor, sigma: float) -> Tensor:
    """dx/dσ = (x − D(x; σ)) / σ."""
    return (x - denoiser(x, x.new_full((len(x),), sigma))) / sigma
