"""How far a prior may be trusted with a measurement: a prior of other images is widened by what the measurement shows.

The prior of x + e, e white noise of deviation d, has the denoiser D_d(m; s) = D(m; S) + (d / S)²·(m − D(m; S)), with
S² = s² + d². For d = 0 it is the prior, for d → ∞ it leaves m as it is. With a right prior, the estimate x̂ of a
measurement y of noise variance v leaves E(y − x̂)² = v·(1 − ∂x̂/∂y) (Stein 1981). What is left beyond that is the prior's
error; d is such that D_d mixes x̂ and y by its share, which is the mixture of least estimated risk.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from oaml_core.restoration.edm import Denoiser
from oaml_core.restoration.posterior import Posterior
from oaml_core.restoration.randomness import generator_of

SIGNIFICANT = 2.0
"""Standard errors by which more must be left than a right prior would leave."""
MOST = 0.99
"""Largest share of the measurement in the mixture."""


def trusted(posterior: Posterior) -> Posterior:
    """Return the posterior under the prior as wide as the measurement says; the same one where it fits.

    It takes one evaluation of the denoiser and one backward pass. Of tiles that were not measured at every pixel
    nothing is said.
    """
    precision = posterior.shared_precision()
    if bool((precision <= 0).any()):
        return posterior
    observed, noise = posterior.measurement.observed, precision.flatten() ** -0.5
    estimate, pulled_back = posterior.linearised(observed, noise)
    variance = (1 / posterior.measurement.precision(estimate)).expand_as(observed)
    signs = torch.randint(0, 2, observed.shape, generator=generator_of("signs")).to(observed) * 2 - 1
    right = (variance - signs * pulled_back(variance * signs)).mean((1, 2, 3))
    left = (observed - estimate).square().mean((1, 2, 3))
    error = (2 / observed[0].numel()) ** 0.5
    share = (1 - right * (1 + SIGNIFICANT * error) / left).clamp(0, MOST)
    if not bool(share.any()):
        return posterior
    return replace(posterior, denoiser=widened(posterior.denoiser, noise * (share / (1 - share)).sqrt()))


def widened(denoiser: Denoiser, deviation: Tensor) -> Denoiser:
    """Return the denoiser of the prior of tiles with white noise of `deviation` [B] more."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        whole = (sigma.square() + deviation.square()).sqrt()
        estimate = denoiser(x, whole)
        return estimate + (deviation / whole).square().reshape(-1, 1, 1, 1) * (x - estimate)

    return denoise
