"""Clean tiles from measured ones: the posterior's mean, its deviation, and samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from oaml_core.config import RestorationConfig
from oaml_core.restoration.edm import Denoiser
from oaml_core.restoration.measurement import Measurement
from oaml_core.restoration.posterior import Posterior
from oaml_core.restoration.sampler import noise_levels

BATCH = 16
"""Tiles restored at a time."""
START, END = 8.0, 0.05
"""Where the posterior's mean is known, sampling starts around it, from the first many deviations of the measurement's
noise, and ends at the second: the posterior's own deviation is less than one of them, so that 2 % of its variance are
lost at most, and what is left at the end is far below what was measured."""


def restore(
    denoiser: Denoiser,
    measured: Measurement,
    shape: tuple[int, ...],
    config: RestorationConfig,
    *,
    seed: int = 0,
    device: str = "cpu",
) -> tuple[Tensor, Tensor, Tensor]:
    """Return posterior mean [B, C, H, W], deviation, and samples [n, B, C, H, W], on the CPU, in batches.

    The deviation, that of the samples, is the uncertainty; NaN for a single sample. See `posterior_mean` for the mean.

    Args:
        denoiser: the prior.
        measured: B tiles.
        shape: (C, H, W) of the clean tiles.
        config: of the sampling: guidance, steps, samples.
        seed: of the sampling; a tile's samples do not depend on the tiles beside it in other batches.
        device: to sample on.
    """
    parts = []
    for number, posterior in _posteriors(denoiser, measured, config, device):
        centre = posterior.mean()
        samples = _samples(posterior, centre, shape, config, seed + number)
        mean = _mean_of(posterior, samples, seed) if centre is None else centre
        deviation = samples.std(0) if len(samples) > 1 else torch.full_like(mean, math.nan)
        parts.append([x.cpu() for x in (mean, deviation, samples)])
    means, deviations, samples_of_all = zip(*parts, strict=True)
    return torch.cat(means), torch.cat(deviations), torch.cat(samples_of_all, 1)


def posterior_mean(
    denoiser: Denoiser,
    measured: Measurement,
    shape: tuple[int, ...],
    config: RestorationConfig,
    *,
    seed: int = 0,
    device: str = "cpu",
) -> Tensor:
    """Return the first of what `restore` returns. It takes samples only where `Posterior.mean` has none: of covered
    tiles it
    is then the mean, over the samples, of what the tile would be if their covered pixels had been measured as well;
    of others the mean of the samples."""
    parts = []
    for number, posterior in _posteriors(denoiser, measured, config, device):
        mean = posterior.mean()
        if mean is None:
            mean = _mean_of(posterior, _samples(posterior, None, shape, config, seed + number), seed)
        parts.append(mean.cpu())
    return torch.cat(parts)


def _posteriors(
    denoiser: Denoiser, measured: Measurement, config: RestorationConfig, device: str
) -> Iterator[tuple[int, Posterior]]:
    for start in range(0, len(measured.observed), BATCH):
        part = measured.part(slice(start, start + BATCH)).to(device)
        yield start, Posterior(denoiser, part, config.guidance)


def _samples(
    posterior: Posterior, centre: Tensor | None, shape: tuple[int, ...], config: RestorationConfig, seed: int
) -> Tensor:
    """Return [n, B, C, H, W]; sample number i starts from (seed, i)."""
    highest, lowest = config.sigma_max, config.sigma_min
    if centre is not None:
        noise = float(posterior.shared_precision().min()) ** -0.5
        lowest = max(lowest, END * noise)
        highest = max(min(highest, START * noise), 2 * lowest)
    levels = noise_levels(config.steps, lowest, highest)
    whole = (len(posterior.measurement.observed), *shape)
    draws = [torch.Generator().manual_seed(seed * 100_003 + i) for i in range(config.samples)]
    return torch.stack([posterior.sample(whole, levels, draw, centre) for draw in draws])


def _mean_of(posterior: Posterior, samples: Tensor, seed: int) -> Tensor:
    """Return the posterior's mean from samples [n, B, C, H, W]: by the law of total expectation that of E[clean | y
    and what
    a sample's covered pixels would have measured], which is steadier than that of the samples themselves."""
    generator = torch.Generator().manual_seed(seed)
    completed = [posterior.measurement.completed(sample, generator) for sample in samples]
    means = [replace(posterior, measurement=measurement).mean() for measurement in completed]
    return torch.stack([sample if mean is None else mean for sample, mean in zip(samples, means, strict=True)]).mean(0)
