"""Clean tiles from measured ones: the posterior's mean, its deviation, and samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from oaml_core.config import RestorationConfig
from oaml_core.restoration.edm import Denoiser
from oaml_core.restoration.gaussian_prior import GaussianPrior
from oaml_core.restoration.measurement import Identity, Measurement
from oaml_core.restoration.posterior import Posterior
from oaml_core.restoration.randomness import generator_of
from oaml_core.restoration.sampler import noise_levels
from oaml_core.restoration.trust import trusted

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
    for mean, samples in _answers(denoiser, measured, shape, config, seed, device):
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
    """Return the first of what `restore` returns.

    It takes samples only where nothing else gives the mean (`Posterior.mean`). Of covered tiles it is then the mean,
    over the samples, of what the tile would be if its covered pixels had been measured as well; of others the mean of
    the samples.
    """
    answers = _answers(denoiser, measured, shape, config, seed, device, mean_alone=True)
    return torch.cat([mean.cpu() for mean, _ in answers])


def _answers(
    denoiser: Denoiser,
    measured: Measurement,
    shape: tuple[int, ...],
    config: RestorationConfig,
    seed: int,
    device: str,
    *,
    mean_alone: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield mean and samples of some tiles at a time; no samples where the mean alone is wanted and takes none."""
    for start in range(0, len(measured.observed), BATCH):
        part = measured.part(slice(start, start + BATCH)).to(device)
        draws = [generator_of("sample", seed, start, i) for i in range(config.samples)]
        if isinstance(denoiser, GaussianPrior) and isinstance(part.operator, Identity):
            yield denoiser.posterior(part, config.guidance, [] if mean_alone else draws)
            continue
        posterior = trusted(Posterior(denoiser, part, config.guidance))
        centre = posterior.mean()
        if centre is not None and mean_alone:
            yield centre, centre[:0]
            continue
        levels = _levels(posterior, config, around_mean=centre is not None)
        whole = (len(part.observed), *shape)
        samples = torch.stack([posterior.sample(whole, levels, draw, centre) for draw in draws])
        completing = generator_of("completed", seed, start)
        yield _mean_of(posterior, samples, completing) if centre is None else centre, samples


def _levels(posterior: Posterior, config: RestorationConfig, *, around_mean: bool) -> list[float]:
    """Return the noise levels that sampling goes through; fewer orders of magnitude where it starts around the mean."""
    highest, lowest = config.sigma_max, config.sigma_min
    if around_mean:
        noise = float(posterior.shared_precision().min()) ** -0.5
        lowest = max(lowest, END * noise)
        highest = max(min(highest, START * noise), 2 * lowest)
    return noise_levels(config.steps, lowest, highest)


def _mean_of(posterior: Posterior, samples: Tensor, generator: torch.Generator) -> Tensor:
    """Return the posterior's mean from samples [n, B, C, H, W].

    By the law of total expectation it is that of E[clean | y and what a sample's covered pixels would have measured],
    which is steadier than that of the samples themselves.
    """
    completed = [posterior.measurement.completed(sample, generator) for sample in samples]
    means = [replace(posterior, measurement=measurement).mean() for measurement in completed]
    return torch.stack([sample if mean is None else mean for sample, mean in zip(samples, means, strict=True)]).mean(0)
