"""Heun's method for the probability-flow ODE of EDM (Karras et al. 2022, algorithm 1)."""

from __future__ import annotations

from torch import Tensor

from oaml_core.progress import progress
from oaml_core.restoration.edm import Denoiser


def noise_levels(steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> list[float]:
    """Levels σ_0 = sigma_max > … > σ_{steps−1} = sigma_min, and 0 after them (equation 5)."""
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    shares = (i / max(1, steps - 1) for i in range(steps))
    return [*((high + share * (low - high)) ** rho for share in shares), 0.0]


def heun_sample(denoiser: Denoiser, unit_noise: Tensor, levels: list[float]) -> Tensor:
    """Return one sample for each row of `unit_noise` [B, C, H, W]; float64 there gives float64 throughout.

    Args:
        denoiser: D, or one conditioned on a measurement.
        unit_noise: unit normal draws.
        levels: falling noise levels, 0 last.
    """
    steps = len(levels) - 1
    x = unit_noise * levels[0]
    for i in progress(range(steps), steps, "sampling"):
        sigma, below = levels[i], levels[i + 1]
        slope = _slope(denoiser, x, sigma)
        euler = x + (below - sigma) * slope
        x = x + (below - sigma) * (slope + _slope(denoiser, euler, below)) / 2 if below > 0 else euler
    return x


def _slope(denoiser: Denoiser, x: Tensor, sigma: float) -> Tensor:
    """dx/dσ = (x − D(x; σ)) / σ."""
    return (x - denoiser(x, x.new_full((len(x),), sigma))) / sigma
