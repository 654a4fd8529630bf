"""Posterior samplers of the library deepinv, on the priors and measurements of OAML.

deepinv knows noise of one deviation per image. Rows of the measurement are divided by their own deviations first, so
that it is told of dark and bright pixels and of covered ones what OAML knows: y / s = (x + noise) / s is a masked image
with noise of deviation 1, s from the variance of the image as non-local means restores it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import deepinv
import torch
from torch import Tensor, nn

from oaml_core.restoration.classical import non_local_means
from oaml_core.restoration.edm import Denoiser
from oaml_core.restoration.measurement import Measurement
from oaml_core.restoration.sampler import noise_levels

SMALLEST = 0.02
"""Deviation where a stochastic or plug-and-play method ends, in units of deepinv's images, black 0 and white 1."""


class CountedPrior(nn.Module):
    """A denoiser that counts passes through its network, forward and backward alike.

    Args:
        denoiser: D(x; σ) on tiles in [-1, 1].
    """

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.passes = 0

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Estimates of the clean tiles."""
        self.passes += 1
        result: Tensor = _CountedBackward.apply(self.denoiser(x, sigma), self)  # type: ignore[no-untyped-call]
        return result


class _CountedBackward(torch.autograd.Function):
    generate_vmap_rule = False

    @staticmethod
    def forward(x: Tensor, counted: CountedPrior) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, CountedPrior], output: Tensor) -> None:
        ctx.counted = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.counted.passes += 1
        return gradient, None


class _OfUnitRange(deepinv.models.Denoiser):  # type: ignore[misc]
    """D as deepinv calls denoisers: black 0, white 1, σ a number or one per image."""

    def __init__(self, denoiser: CountedPrior) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x: Tensor, sigma: Tensor | float, **_: object) -> Tensor:
        levels = torch.as_tensor(sigma, dtype=torch.float32).flatten().expand(len(x))
        return (self.denoiser(2 * x.float() - 1, 2 * levels) + 1) / 2


def whitened(measured: Measurement) -> tuple[Tensor, Tensor]:
    """Return y / s and 1 / s [B, C, H, W] of the signal, black 0 and white 1; both are 0 where a pixel is covered."""
    plain = non_local_means(measured.observed, measured.noise)
    scale = 2 * measured.precision(plain).sqrt().expand_as(plain)
    return scale * (measured.observed + 1) / 2, scale


def _physics(mask: Tensor, deviation: float = 1.0) -> Any:
    noise = deepinv.physics.GaussianNoise(deviation)
    return deepinv.physics.Inpainting(img_size=mask.shape[1:], mask=mask, noise_model=noise)


def _solved(fidelity: Any, calls: int) -> Callable[[CountedPrior, Measurement, int, int], Tensor]:
    """Return EDM's sampler (Heun) with a likelihood of deepinv; `calls`: passes of one evaluation."""

    def sample(prior: CountedPrior, measured: Measurement, passes: int, seed: int) -> Tensor:
        y, mask = whitened(measured)
        levels = torch.tensor(noise_levels(max(2, round(passes / calls / 2) + 1), sigma_max=10.0)[:-1])
        sde = deepinv.sampling.EDMDiffusionSDE(
            sigma_t=lambda t: t, sigma_prime_t=torch.ones_like, variance_exploding=True, alpha=0.0, T=10.0
        )
        solver = deepinv.sampling.HeunSolver(timesteps=levels, rng=torch.Generator().manual_seed(seed))
        model = deepinv.sampling.PosteriorDiffusion(fidelity(), _OfUnitRange(prior), sde, solver)
        return _tiles(model(y, _physics(mask)))

    return sample


def _dps(guidance: str) -> Callable[[CountedPrior, Measurement, int, int], Tensor]:
    def sample(prior: CountedPrior, measured: Measurement, passes: int, seed: int) -> Tensor:
        y, mask = whitened(measured)
        draws = torch.Generator().manual_seed(seed)
        model = deepinv.sampling.DPS(_OfUnitRange(prior), num_steps=passes // 2 + 1, guidance=guidance, rng=draws)
        return _tiles(model(y, _physics(mask)))

    return sample


def _diffpir(prior: CountedPrior, measured: Measurement, passes: int, seed: int) -> Tensor:
    y, mask = whitened(measured)
    # It wants noise of a range as images have it: the mask's largest value becomes 1.
    largest = float(mask.max())
    model = deepinv.sampling.DiffPIR(_OfUnitRange(prior), deepinv.optim.L2(), sigma=1 / largest, max_iter=passes)
    return _tiles(model(y / largest, _physics(mask / largest, 1 / largest), seed=seed + 1))


def _ddrm(prior: CountedPrior, measured: Measurement, passes: int, seed: int) -> Tensor:
    """DDRM tile by tile: it takes one mask for all."""
    y, mask = whitened(measured)
    largest = float(mask.max())
    sigmas = [level / 2 for level in noise_levels(passes, 2 * SMALLEST, 10.0)[:-1]]
    model = deepinv.sampling.DDRM(_OfUnitRange(prior), sigmas=sigmas)
    found = [
        model(y[i : i + 1] / largest, _physics(mask[i : i + 1] / largest, 1 / largest), seed=seed * 1009 + i + 1)
        for i in range(len(y))
    ]
    # Passes of one tile: all tiles would go through the network together.
    prior.passes -= passes * (len(y) - 1)
    return _tiles(torch.cat(found))


def _dpir(prior: CountedPrior, measured: Measurement, passes: int, seed: int) -> Tensor:
    """Plug and play: half-quadratic splitting with DPIR's own 8 denoising steps, whatever `passes` allows."""
    y, mask = whitened(measured)
    largest = float(mask.max())
    model = deepinv.optim.DPIR(sigma=1 / largest, denoiser=_OfUnitRange(prior))
    return _tiles(model(y / largest, _physics(mask / largest, 1 / largest)))


def _tiles(images: Tensor) -> Tensor:
    return images.detach().float() * 2 - 1


Sampler = Callable[[CountedPrior, Measurement, int, int], Tensor]
"""(prior, measured, passes allowed, seed) → one sample of each tile."""

SAMPLERS: Mapping[str, Sampler] = {
    "moment matching, EDM": _solved(deepinv.sampling.MomentMatchingDataFidelity, 6),
    "ΠGDM, EDM": _solved(deepinv.sampling.PiGDMDataFidelity, 2),
    "DPS": _dps("norm"),
    "DPS, annealed": _dps("annealed"),
    "DDRM": _ddrm,
    "DiffPIR": _diffpir,
}
"""Methods of deepinv that draw samples, with its own settings."""
PLUG_AND_PLAY: Mapping[str, Sampler] = {"DPIR": _dpir}
"""Methods of deepinv that give one answer."""
