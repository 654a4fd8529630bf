"""A Gaussian prior of aligned tiles, such as faces: posterior samples in closed form, without a network.

A tile is x = μ + W·z + e: z is unit normal in a few hundred dimensions, e has variance ψ, independent at every value
(factor analysis, with W along the principal components; Tipping & Bishop 1999). Measured is y = x + n, n of variance v,
infinite where the tile is covered. Then z is Gaussian, of precision G = 1 + Wᵀ·diag(1 / (ψ/τ + v))·W and mean
G⁻¹·Wᵀ·((y − μ) / (ψ/τ + v)); and e given z has the mean g·(y − μ − W·z), g = ψ / (ψ + v), and the variance ψ·(1 − g).
Were e independent in truth, τ would be 1. Neighbours are alike, so that 1 / τ values tell of z as much as one would;
τ is chosen on held-out tiles.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from oaml_core.errors import ModelInputError
from oaml_core.restoration.measurement import Measurement

NEIGHBOURS = 5
"""Side in pixels of the means from which the noise's variance is taken."""


class GaussianPrior(nn.Module):
    """Aligned tiles as one Gaussian of low rank with independent rest; also a denoiser D(x; σ).

    Args:
        mean: μ [C, H, W].
        components: W [C·H·W, k].
        rest: ψ [C, H, W], > 0.
        evidence: τ, a number in (0, 1].
    """

    mean: Tensor
    components: Tensor
    rest: Tensor
    evidence: Tensor

    def __init__(self, mean: Tensor, components: Tensor, rest: Tensor, evidence: Tensor | float = 1.0) -> None:
        super().__init__()
        named = {"mean": mean, "components": components, "rest": rest, "evidence": torch.as_tensor(evidence)}
        for name, value in named.items():
            self.register_buffer(name, value)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return E[clean | x] of noisy tiles x [B, C, H, W] of noise levels σ [B].

        Raises:
            ModelInputError: the tiles are not of the prior's size.
        """
        return self._given(x, (sigma.reshape(-1, 1, 1, 1) ** -2).expand_as(x), [])[0]

    def posterior(self, measured: Measurement, guidance: float, draws: list[torch.Generator]) -> tuple[Tensor, Tensor]:
        """Return the posterior's mean [B, C, H, W] and samples [n, B, C, H, W], one per generator.

        Args:
            measured: tiles measured pixel by pixel (operator `Identity`), any of them covered.
            guidance: power of the likelihood; 1: the posterior.
            draws: randomness of each sample.

        Raises:
            ModelInputError: the tiles are not of the prior's size.
        """
        precision = (guidance * measured.precision(_local_means(measured))).expand_as(measured.observed)
        return self._given(measured.observed, precision, draws)

    def _given(self, observed: Tensor, precision: Tensor, draws: list[torch.Generator]) -> tuple[Tensor, Tensor]:
        """Mean and samples given values and 1 / v [B, C, H, W], 0 where a value says nothing."""
        if observed.shape[1:] != self.mean.shape:
            raise ModelInputError(
                f"This prior restores aligned tiles of {list(self.mean.shape[1:])} pixels, not of "
                f"{list(observed.shape[2:])}. Crop them as its training tiles, or take a prior of method mmps."
            )
        gain, surprise = 1 - 1 / (1 + self.rest * precision), observed - self.mean
        weight = precision / (1 + self.rest / self.evidence * precision)
        # The first column is 0: the mean is the sample without noise.
        unit = _unit_noise((len(observed), self.components.shape[1]), draws).to(observed)
        latent = torch.stack(
            [self._latent(*tile) for tile in zip(surprise, weight, unit.movedim(0, 2), strict=True)], 1
        )
        answers = self.mean + latent + gain * (surprise - latent)
        answers = answers + (self.rest * (1 - gain)).sqrt() * _unit_noise(tuple(observed.shape), draws).to(observed)
        return answers[0], answers[1:]

    def _latent(self, surprise: Tensor, weight: Tensor, unit: Tensor) -> Tensor:
        """Return W·z [n, C, H, W] of one tile for draws [k, n] of unit noise."""
        seen = weight.flatten() > 0
        rows, weights = self.components[seen], weight.flatten()[seen]
        weighted = weights[:, None] * rows
        information = torch.eye(rows.shape[1]).to(rows) + weighted.T @ rows
        lower = torch.linalg.cholesky(information.double())
        mean = torch.cholesky_solve((weighted.T @ surprise.flatten()[seen])[:, None].double(), lower)
        latent = mean + torch.linalg.solve_triangular(lower.T, unit.double(), upper=True)
        tiles: Tensor = (self.components @ latent.to(rows)).T.reshape(-1, *self.mean.shape)
        return tiles


def _unit_noise(shape: tuple[int, ...], draws: list[torch.Generator]) -> Tensor:
    """Return zeros and, after them, unit noise of each generator, [1 + n, *shape]."""
    return torch.stack([torch.zeros(shape), *(torch.randn(shape, generator=draw) for draw in draws)])


def _local_means(measured: Measurement) -> Tensor:
    """Return means of the measured values around each pixel: the scene as far as the noise's variance needs it."""
    observed = measured.observed
    seen = observed.new_ones(len(observed), 1, *observed.shape[2:])
    if measured.visibility is not None:
        seen = (measured.visibility > 0).to(observed)
    sums, counts = (
        functional.avg_pool2d(x, NEIGHBOURS, stride=1, padding=NEIGHBOURS // 2) for x in (observed * seen, seen)
    )
    return sums / counts.clamp_min(1 / NEIGHBOURS**2)
