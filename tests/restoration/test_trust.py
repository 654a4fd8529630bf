"""Priors of other images never make a measurement worse, and no random number serves two purposes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from oaml_core.config.restoration import RestorationConfig
from oaml_core.restoration.edm import Denoiser
from oaml_core.restoration.evaluate import CAMERAS, ONE_SAMPLE, evaluate_tiles
from oaml_core.restoration.measurement import Identity, Measurement, Noise, measure
from oaml_core.restoration.metrics import coverage
from oaml_core.restoration.posterior import Posterior
from oaml_core.restoration.randomness import generator_of
from oaml_core.restoration.restore import posterior_mean, restore
from oaml_core.restoration.trust import trusted, widened

SHAPE, NOISE = (3, 32, 32), 0.1


def prior_of(deviation: float) -> Denoiser:
    """The denoiser of tiles whose values are N(0, deviation²), independent."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return x * deviation**2 / (deviation**2 + sigma.reshape(-1, 1, 1, 1) ** 2)

    return denoise


def tiles_of(deviation: float, count: int = 4) -> Tensor:
    return deviation * torch.randn((count, *SHAPE), generator=generator_of("tiles"))


def measured_with(tiles: Tensor) -> Measurement:
    return measure(tiles, Identity(), Noise(0.0, NOISE**2 / 4), generator_of("measured"))


@pytest.mark.parametrize("believed", [0.01, 0.05, 0.1])
def test_a_prior_of_other_tiles_does_not_make_a_measurement_worse(believed: float) -> None:
    tiles = tiles_of(0.4)
    measured, config = measured_with(tiles), RestorationConfig(steps=12, samples=6)
    alone = Posterior(prior_of(believed), measured).mean()
    assert alone is not None
    assert (alone - tiles).square().mean() > 1.5 * NOISE**2
    mean, _, samples = restore(prior_of(believed), measured, SHAPE, config)
    assert (mean - tiles).square().mean() < 1.01 * NOISE**2
    assert torch.equal(posterior_mean(prior_of(believed), measured, SHAPE, config), mean)
    assert coverage(samples, tiles).mean() == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize("deviation", [0.02, 0.1, 0.5])
def test_a_prior_that_fits_stays_as_it_is(deviation: float) -> None:
    posterior = Posterior(prior_of(deviation), measured_with(tiles_of(deviation)))
    assert trusted(posterior) is posterior


def test_a_tile_that_the_prior_fits_is_not_widened_beside_one_that_it_does_not() -> None:
    tiles = torch.cat([tiles_of(0.05, 1), tiles_of(0.4, 1)])
    measured, x = measured_with(tiles), tiles_of(0.3, 2)
    posterior = Posterior(prior_of(0.05), measured)
    level = torch.full((2,), NOISE)
    before, after = posterior.denoiser(x, level), trusted(posterior).denoiser(x, level)
    torch.testing.assert_close(after[0], before[0])
    assert (after[1] - x[1]).abs().max() < 0.2 * (before[1] - x[1]).abs().max()


def test_a_widened_prior_is_that_of_tiles_with_more_noise() -> None:
    x, level = tiles_of(0.3, 2), torch.tensor([0.1, 0.7])
    wide = widened(prior_of(0.3), torch.tensor([0.4, 0.4]))
    torch.testing.assert_close(wide(x, level), prior_of(0.5)(x, level))


def test_samples_explain_simulated_measurements_under_every_exposure_and_seed() -> None:
    tiles = tiles_of(0.05)
    for seed in (0, 1):
        config = RestorationConfig(steps=12, samples=1)
        found = evaluate_tiles(prior_of(0.05), tiles, config, seed=seed)
        for exposure in CAMERAS:
            assert found.of(exposure, ONE_SAMPLE).chi_square == pytest.approx(1, abs=0.08), (exposure, seed)


def test_purposes_and_their_numbers_have_random_numbers_of_their_own() -> None:
    given = [("sample", 0, 0), ("sample", 0, 1), ("sample", 1, 0), ("measured", 0, 0), ("completed", 0, 0)]
    drawn = torch.stack([torch.randn(1000, generator=generator_of(*words)) for words in given])
    assert (torch.corrcoef(drawn) - torch.eye(len(given))).abs().max() < 0.15
    assert torch.equal(drawn[0], torch.randn(1000, generator=generator_of(*given[0])))
