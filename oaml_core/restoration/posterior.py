"""Samples of P(clean | measured): the prior's denoiser, corrected by what was measured.

With D the denoiser, x the noisy tile at level σ, x̂ = D(x; σ) and the measurement y = A·x + noise of variance V, the
posterior's denoiser is D + σ²·∇ₓ log p(y | x). Moment matching (Rozet et al. 2024) takes the scene given x for Gaussian
of mean x̂ and covariance C = σ²·J, J = ∂x̂/∂x (Tweedie's second formula): exact for every Gaussian prior. Then
∇ₓ log p = Jᵀ·Aᵀ·(A·C·Aᵀ + V)⁻¹·(y − A·x̂). Each step of its linear solver costs a backward pass through the denoiser; J
of a network is not quite symmetric, hence GMRES.

Where every pixel is measured (A = I) with variances about 1/λ, x and that much of y are first taken together: they are
one tile m = (x/σ² + λ·y)·s² with noise s, 1/s² = 1/σ² + λ, of which D(m; s) is the exact estimate for any prior. Only
what is left of the likelihood, of precision 1/V − λ, needs a Gaussian approximation, around a tile that is as clear as
the measurement. For σ → ∞ this is E[clean | y], without sampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from oaml_core.restoration.edm import Denoiser
from oaml_core.restoration.measurement import Identity, Measurement
from oaml_core.restoration.sampler import heun_sample

TINY = 1e-30
"""Smallest divisor, so that zeros divided by zero stay 0."""


@dataclass(frozen=True)
class Posterior:
    """The measured tiles' posterior, under a prior given by its denoiser.

    Args:
        denoiser: D of the prior.
        measurement: what was measured, B tiles.
        guidance: power of the likelihood; 1: the posterior.
        iterations: of the linear solver, at most; a learnt denoiser wants 2 or 3, an exact one as many as it takes.
    """

    denoiser: Denoiser
    measurement: Measurement
    guidance: float = 1.0
    iterations: int = 2

    def sample(
        self,
        shape: tuple[int, ...],
        levels: list[float],
        generator: torch.Generator,
        centre: Tensor | None = None,
    ) -> Tensor:
        """Return one sample for each measured tile.

        Args:
            shape: (B, C, H, W) of the clean tiles.
            levels: falling noise levels, 0 last (`noise_levels`).
            generator: of the starting noise; the rest is deterministic.
            centre: the posterior's mean, where it is known: the starting noise is added to it. None: to 0.
        """
        noise = torch.randn(shape, generator=generator, dtype=self.measurement.observed.dtype)
        noise = noise.to(self.measurement.observed.device)
        if centre is not None:
            noise = noise + centre / levels[0]
        with torch.no_grad():
            return heun_sample(self.denoise, noise, levels)

    def mean(self) -> Tensor | None:
        """Return E[clean | y] [B, C, H, W] in one evaluation; None where it takes samples: not every pixel was
        measured."""
        if bool((self.shared_precision() <= 0).any()):
            return None
        observed = self.measurement.observed
        return self.denoise(torch.zeros_like(observed), observed.new_full((len(observed),), math.inf))

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return E[clean | x, y], the estimate of the posterior's denoiser.

        Args:
            x: noisy tiles [B, C, H, W].
            sigma: their noise levels [B]; infinite, where `mean` exists: x says nothing.
        """
        operator = self.measurement.operator
        shared = self.guidance * self.shared_precision()
        variance = 1 / (sigma.reshape(-1, 1, 1, 1) ** -2 + shared)
        together = x
        if bool((shared > 0).any()):
            together = (x * sigma.reshape(-1, 1, 1, 1) ** -2 + shared * self.measurement.observed) * variance
        estimate, pulled_back = self.linearised(together, variance.sqrt().flatten())
        left = self.guidance * self.measurement.precision(estimate) - shared
        # The system's inverse if J were 1, its upper bound: without it few iterations leave the darkest pixels, whose
        # variance is a fortieth of the brightest ones', and say too little of how uncertain they are.
        scale = 1 / (1 + left * variance).clamp_min(TINY)

        def system(z: Tensor) -> Tensor:
            """S·(1 + K·A·C·Aᵀ)·z, K the precision that is left, C = s²·J, S the scale; Jᵀ = J for the best denoiser."""
            return scale * (z + left * operator(variance * pulled_back(operator.adjoint(z))))

        weighted = gmres(system, scale * left * self.measurement.residual(estimate), self.iterations)
        return estimate + variance * pulled_back(operator.adjoint(weighted))

    def shared_precision(self) -> Tensor:
        """Return λ [B, 1, 1, 1], 1 / mean variance over the pixels; 0 unless every pixel of the clean tile was
        measured."""
        observed = self.measurement.observed
        if not isinstance(self.measurement.operator, Identity):
            return observed.new_zeros(len(observed), 1, 1, 1)
        # The variance is linear in the signal: its mean over the noisy tile is that over the clean one.
        return 1 / (1 / self.measurement.precision(observed)).mean((1, 2, 3), keepdim=True)

    def linearised(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return D(x; σ) of the prior, and what multiplies by its transposed Jacobian Jᵀ."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            estimate = self.denoiser(x, sigma)

        def pulled_back(cotangent: Tensor) -> Tensor:
            (gradient,) = torch.autograd.grad(estimate, x, cotangent, retain_graph=True)
            return gradient

        return estimate.detach(), pulled_back


def gmres(system: Callable[[Tensor], Tensor], right: Tensor, iterations: int) -> Tensor:
    """Solve `system`(z) = right for each row of [B, …] by itself, `system` linear and not necessarily symmetric.

    Each iteration makes the residual smaller, or leaves it (Saad & Schultz 1986). Stops early when every row's new
    direction vanishes: the solution is exact.
    """
    size = right.flatten(1).norm(dim=1)
    basis = [right.flatten(1) / size.clamp_min(TINY)[:, None]]
    products = right.new_zeros(len(right), iterations + 1, iterations)
    for j in range(iterations):
        image = system(basis[j].view_as(right)).flatten(1)
        whole = image.norm(dim=1)
        for i, direction in enumerate(basis):
            products[:, i, j] = (image * direction).sum(1)
            image = image - products[:, i, j, None] * direction
        rest = image.norm(dim=1)
        # Of a row that is solved rounding is left, which is no direction.
        rest = torch.where(rest > 1e-5 * whole, rest, 0)
        products[:, j + 1, j] = rest
        basis.append(torch.where(rest[:, None] > 0, image / rest.clamp_min(TINY)[:, None], 0))
        if not bool(rest.any()):
            break
    used = len(basis) - 1
    target = right.new_zeros(len(right), used + 1, 1)
    target[:, 0, 0] = size
    shares = (torch.linalg.pinv(products[:, : used + 1, :used]) @ target)[:, :, 0]
    return torch.einsum("bj,jbn->bn", shares, torch.stack(basis[:-1])).view_as(right)
