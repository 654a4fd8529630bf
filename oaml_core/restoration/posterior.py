"""Samples of P(clean | measured): the prior's denoiser, corrected by what was measured.

With D the denoiser, x the noisy tile at level σ, x̂ = D(x; σ) and the measurement y = A·x + noise of variance V, the
posterior's denoiser is D + σ²·∇ₓ log p(y | x). The methods differ in how they take the uncertainty of x̂:

- `dps` (Chung et al. 2023): none at all. log p is that of the measurement if x̂ were the scene,
  L = ½ Σ (y − A·x̂)² / V(x̂) + ½ Σ log V(x̂), V exact for signal-dependent noise. A step of its own of length
  ζ·√V̄·∇ₓ√(2L') follows each denoising step, as published, which makes up for the missing uncertainty by ζ.
- `pigdm` (Song et al. 2023): the covariance of the scene given x is r²·I, r² = σ²·s² / (σ² + s²), s the deviation of
  clean tiles: ∇ₓ log p = Jᵀ·Aᵀ·(A·r²·Aᵀ + V)⁻¹·(y − A·x̂), J = ∂x̂/∂x. Exact for a white Gaussian prior; of images r² is
  many times the error of x̂, and noise is taken for detail.
- `mmps` (Rozet et al. 2024), the default: the covariance is σ²·J (Tweedie's second formula), in place of r²·I. Exact
  for every Gaussian prior. Each step of its conjugate gradients costs a backward pass through the denoiser; J of a
  network is not quite symmetric, so that many steps diverge, and two are enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from oaml_core.progress import progress
from oaml_core.restoration.edm import Denoiser
from oaml_core.restoration.measurement import Measurement
from oaml_core.restoration.sampler import heun_sample

Method = Literal["mmps", "pigdm", "dps"]


@dataclass(frozen=True)
class Posterior:
    """The measured tiles' posterior, under a prior given by its denoiser.

    Args:
        denoiser: D of the prior.
        measurement: what was measured, B tiles.
        method: see above.
        sigma_data: s, standard deviation of clean tiles.
        guidance: `dps`: ζ; else a factor of the correction, 1 for the posterior itself.
        iterations: of conjugate gradients, at most; a learnt denoiser wants 2 or 3, an exact one as many as it takes.
    """

    denoiser: Denoiser
    measurement: Measurement
    method: Method = "mmps"
    sigma_data: float = 0.5
    guidance: float = 1.0
    iterations: int = 2

    def sample(self, shape: tuple[int, ...], levels: list[float], generator: torch.Generator) -> Tensor:
        """One sample for each measured tile.

        Args:
            shape: (B, C, H, W) of the clean tiles.
            levels: falling noise levels, 0 last (`noise_levels`).
            generator: of the starting noise; the rest is deterministic.
        """
        noise = torch.randn(shape, generator=generator, dtype=self.measurement.observed.dtype)
        noise = noise.to(self.measurement.observed.device)
        if self.method == "dps":
            return self._dps(noise, levels)
        with torch.no_grad():
            return heun_sample(self.denoise, noise, levels)

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[clean | x, y] = D + σ²·∇ₓ log p(y | x), the posterior's denoiser; not for `dps`."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            estimate = self.denoiser(x, sigma)
        scene, level = estimate.detach(), sigma.reshape(-1, 1, 1, 1)

        def pulled_back(cotangent: Tensor) -> Tensor:
            """Jᵀ·cotangent."""
            (gradient,) = torch.autograd.grad(estimate, x, cotangent, retain_graph=True)
            return gradient

        if self.method == "mmps":
            # J is symmetric for the best denoiser: Jᵀ stands for J.
            weighted = self._solved(scene, lambda z: level.square() * pulled_back(z))
        else:
            spread = level.square() * self.sigma_data**2 / (level.square() + self.sigma_data**2)
            weighted = self._solved(scene, lambda z: spread * z)
        return scene + self.guidance * level.square() * pulled_back(self.measurement.operator.adjoint(weighted))

    def _solved(self, scene: Tensor, covariance: Callable[[Tensor], Tensor]) -> Tensor:
        """(A·C·Aᵀ + V)⁻¹·(y − A·x̂) by conjugate gradients, scaled so that infinite variances give zeros.

        With W = V^(−½): u = W·z, (W·A·C·Aᵀ·W + 1)·z = W·(y − A·x̂), whose eigenvalues are at least 1.
        """
        operator, root = self.measurement.operator, self.measurement.precision(scene).sqrt()

        def system(z: Tensor) -> Tensor:
            return root * operator(covariance(operator.adjoint(root * z))) + z

        return root * conjugate_gradients(system, root * self.measurement.residual(scene), self.iterations)

    def _dps(self, noise: Tensor, levels: list[float]) -> Tensor:
        """Euler steps of the prior, each followed by a step towards the measurement."""
        x = noise * levels[0]
        steps = len(levels) - 1
        for i in progress(range(steps), steps, "sampling"):
            sigma, below = levels[i], levels[i + 1]
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                estimate = self.denoiser(x, x.new_full((len(x),), sigma))
                misfit, variance = self._misfit(estimate)
                (gradient,) = torch.autograd.grad(misfit.sum(), x)
            slope = (x.detach() - estimate.detach()) / sigma
            step = self.guidance * variance.sqrt().reshape(-1, 1, 1, 1) * gradient
            x = x.detach() + (below - sigma) * slope - step
        return x

    def _misfit(self, estimate: Tensor) -> tuple[Tensor, Tensor]:
        """√(2L') of each tile [B] and its mean variance [B]; L' is L less its value for a perfect fit, so ≥ 0."""
        precision = self.measurement.precision(estimate)
        seen = precision > 0
        logs = torch.where(seen, -precision.clamp_min(1e-12).log(), 0.0)
        count = seen.flatten(1).sum(1).clamp_min(1)
        variance = torch.where(seen, 1 / precision.clamp_min(1e-12), 0.0).flatten(1).sum(1) / count
        squares = (self.measurement.residual(estimate).square() * precision).flatten(1).sum(1)
        # log V is taken relative to its present mean: constants do not change the gradient of L.
        entropy = (logs - (logs.flatten(1).sum(1) / count).detach().reshape(-1, 1, 1, 1) * seen).flatten(1).sum(1)
        return (squares + entropy).clamp_min(1e-6).sqrt(), variance.detach()


def conjugate_gradients(system: Callable[[Tensor], Tensor], right: Tensor, iterations: int) -> Tensor:
    """Solve `system`(z) = right for each row of [B, …] by itself; `system` symmetric, positive definite.

    Stops early when every row's residual is below 1e-5 of its right side.
    """

    def dot(one: Tensor, other: Tensor) -> Tensor:
        return (one * other).flatten(1).sum(1).reshape(-1, *[1] * (one.ndim - 1))

    z = torch.zeros_like(right)
    residual = direction = right
    size = dot(residual, residual)
    enough = size * 1e-10
    for _ in range(iterations):
        if bool((size <= enough).all()):
            break
        image = system(direction)
        curvature = dot(direction, image)
        # A denoiser that was learnt is not exactly symmetric: where it bends the wrong way, that row stops.
        alpha = torch.where(curvature > 0, size / curvature.clamp_min(math.ulp(0.0)), torch.zeros_like(size))
        alpha = torch.where(torch.isfinite(alpha), alpha, torch.zeros_like(alpha))
        z = z + alpha * direction
        residual = residual - alpha * image
        before, size = size, dot(residual, residual)
        direction = (
            residual + torch.where(before > 0, size / before.clamp_min(1e-30), torch.zeros_like(size)) * direction
        )
    return z


def posterior_samples(
    posterior: Posterior, shape: tuple[int, ...], levels: list[float], count: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """`count` samples of each tile: their mean [B, C, H, W], standard deviation (the uncertainty), and the samples.

    Args:
        posterior: of B tiles.
        shape: (B, C, H, W).
        levels: falling noise levels, 0 last.
        count: samples, ≥ 2 for a deviation.
        seed: sample number i starts from (seed, i).
    """
    samples = torch.stack(
        [posterior.sample(shape, levels, torch.Generator().manual_seed(seed * 100_003 + i)) for i in range(count)]
    )
    deviation = samples.std(0) if count > 1 else torch.full_like(samples[0], math.nan)
    return samples.mean(0), deviation, samples
