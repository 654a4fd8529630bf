"""Posterior samples of Gaussian priors, whose posterior is known in closed form: this catches a wrong likelihood."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from oaml_core.config.restoration import RestorationConfig
from oaml_core.restoration.measurement import (
    Composition,
    GaussianBlur,
    Identity,
    LowResolution,
    Measurement,
    Noise,
    Operator,
    measure,
)
from oaml_core.restoration.metrics import chi_square
from oaml_core.restoration.posterior import Posterior, gmres
from oaml_core.restoration.restore import END, START, posterior_mean, restore
from oaml_core.restoration.sampler import heun_sample, noise_levels
from oaml_core.settings import load_config

RECIPE = Path(__file__).parents[2] / "configs" / "restore_faces.yaml"
SIDE, MEAN = 8, 0.1
FLAT = SIDE * SIDE


@dataclass
class GaussianPrior:
    """Tiles [1, 8, 8] that are N(0.1, covariance)."""

    covariance: Tensor

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        gain = self.covariance @ torch.linalg.inv(self.covariance + sigma[0] ** 2 * torch.eye(FLAT).double())
        return (MEAN + (x.flatten(1) - MEAN) @ gain.T).view_as(x)

    def draw(self, generator: torch.Generator) -> Tensor:
        unit = torch.randn(FLAT, generator=generator, dtype=torch.float64)
        return (MEAN + torch.linalg.cholesky(self.covariance) @ unit).view(1, 1, SIDE, SIDE)

    def posterior(self, measured: Measurement) -> tuple[Tensor, Tensor]:
        """Mean and covariance given one measurement of constant noise."""
        basis = torch.eye(FLAT, dtype=torch.float64).view(FLAT, 1, SIDE, SIDE)
        a = measured.operator(basis).flatten(1).T
        precision = measured.precision(torch.zeros(1, 1, SIDE, SIDE).double()).expand_as(measured.observed)
        information = a.T @ torch.diag(precision.flatten()) @ a
        covariance = torch.linalg.inv(torch.linalg.inv(self.covariance) + information)
        surprise = measured.observed.flatten() - MEAN * a.sum(1)
        mean = MEAN + covariance @ (a.T @ (precision.flatten() * surprise))
        return mean, covariance


def white(deviation: float = 0.5) -> GaussianPrior:
    return GaussianPrior(deviation**2 * torch.eye(FLAT, dtype=torch.float64))


def smooth() -> GaussianPrior:
    places = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).double()
    distance = torch.cdist(places, places)
    return GaussianPrior(0.25 * torch.exp(-0.5 * (distance / 2) ** 2) + 0.01 * torch.eye(FLAT).double())


CASES: list[tuple[GaussianPrior, Operator, float]] = [
    (white(), LowResolution(2), 0.0),
    (white(), GaussianBlur(0.6), 0.0),
    (smooth(), Identity(), 0.0),
    (smooth(), Identity(), 0.3),
    (smooth(), Composition((GaussianBlur(0.6), LowResolution(2))), 0.0),
]
"""The last: least visibility of a pixel; 0: the variance of one is infinite."""


def measured_by(operator: Operator, prior: GaussianPrior, least: float, noise: float = 0.01) -> Measurement:
    """One tile of the prior, its pixels' variances 4 · noise / visibility."""
    generator = torch.Generator().manual_seed(1)
    scene = prior.draw(generator)
    shape = operator(scene).shape
    seen = least + (1 - least) * torch.rand((1, 1, *shape[2:]), generator=generator, dtype=torch.float64)
    seen[..., :1, :1] = least
    return measure(scene, operator, Noise(a=0.0, b=noise), generator, seen)


@pytest.mark.parametrize(("prior", "operator", "least"), CASES)
def test_mean_and_variance_are_those_of_the_closed_form(prior: GaussianPrior, operator: Operator, least: float) -> None:
    measured = measured_by(operator, prior, least)
    mean, covariance = affine_law_of_samples(prior, measured)
    expected_mean, expected_covariance = prior.posterior(measured)
    assert (mean - expected_mean).norm() / (expected_mean - MEAN).norm() < 0.05
    assert (covariance - expected_covariance).norm() / expected_covariance.norm() < 0.05


@pytest.mark.parametrize("noise", [0.01, 1.0], ids=["clear", "noisier than any tile"])
def test_the_mean_of_fully_measured_tiles_takes_no_samples(noise: float) -> None:
    prior = smooth()
    measured = measured_by(Identity(), prior, 0.3, noise)
    mean = Posterior(prior.denoise, measured, iterations=30).mean()
    assert mean is not None
    torch.testing.assert_close(mean.flatten(), prior.posterior(measured)[0], rtol=0, atol=1e-4)
    two = Posterior(prior.denoise, measured, iterations=2).mean()
    assert two is not None
    assert (two - mean).norm() / mean.norm() < 0.05


def test_covered_or_blurred_tiles_have_no_mean_without_samples() -> None:
    prior = smooth()
    assert Posterior(prior.denoise, measured_by(Identity(), prior, least=0.0)).mean() is None
    assert Posterior(prior.denoise, measured_by(LowResolution(2), prior, least=0.3)).mean() is None


def test_restored_tiles_are_posterior_means_with_and_without_a_cover() -> None:
    prior, config = smooth(), RestorationConfig(steps=12, samples=24)
    for least, most in ((0.3, 0.02), (0.0, 0.12)):
        measured = measured_by(Identity(), prior, least)
        expected, covariance = prior.posterior(measured)
        mean, deviation, samples = restore(prior.denoise, measured, (1, SIDE, SIDE), config)
        assert samples.shape == (24, 1, 1, SIDE, SIDE)
        assert (mean.flatten() - expected).norm() / (expected - MEAN).norm() < most
        assert deviation.mean() == pytest.approx(covariance.diag().sqrt().mean().item(), rel=0.15)
        assert torch.equal(posterior_mean(prior.denoise, measured, (1, SIDE, SIDE), config), mean)


def scatter_of_samples(steps: int, share: float) -> float:
    """Return variance of samples / variance of the posterior, whose deviation is `share` of the measurement's noise."""
    noise = 0.1
    prior = white(noise * share / (1 - share**2) ** 0.5)
    observed = torch.zeros(FLAT, 1, SIDE, SIDE, dtype=torch.float64)
    measured = Measurement(observed, Identity(), Noise(a=0.0, b=noise**2 / 4))
    posterior = Posterior(prior.denoise, measured, iterations=2)
    unit = torch.eye(FLAT, dtype=torch.float64).view(FLAT, 1, SIDE, SIDE)
    levels = noise_levels(steps, END * noise, START * noise)
    samples = [heun_sample(posterior.denoise, draw, levels).flatten(1) for draw in (unit, unit * 0)]
    slopes = samples[0] - samples[1]
    return float(slopes.square().sum() / FLAT / (noise * share) ** 2)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.95])
def test_samples_scatter_as_the_posterior_does_at_the_recipes_number_of_steps(share: float) -> None:
    steps = load_config(RECIPE).restoration.steps
    assert scatter_of_samples(steps, share) == pytest.approx(1, abs=0.06)
    assert scatter_of_samples(6, share) > 1.2


@pytest.mark.parametrize(("brightest", "darkest"), [(0.002, 0.00005), (0.04, 0.001), (0.01, 0.01)])
def test_few_iterations_serve_dark_pixels_as_well_as_bright_ones(brightest: float, darkest: float) -> None:
    """Mean, scatter and χ² as `restore` makes them, of 300 tiles whose variances fall from pixel to pixel."""
    prior, generator = smooth(), torch.Generator().manual_seed(0)
    exponents = torch.randperm(FLAT, generator=generator).double() / (FLAT - 1)
    variances = brightest * (darkest / brightest) ** exponents
    unit = torch.randn((2, 300, FLAT), generator=generator, dtype=torch.float64)
    tiles = MEAN + unit[0] @ torch.linalg.cholesky(prior.covariance).T
    observed = (tiles + unit[1] * variances.sqrt()).view(-1, 1, SIDE, SIDE)
    seen = (variances.min() / variances).view(1, 1, SIDE, SIDE).expand(300, -1, -1, -1)
    measured = Measurement(observed, Identity(), Noise(a=0.0, b=float(variances.min()) / 4), seen)
    config = RestorationConfig(steps=load_config(RECIPE).restoration.steps, samples=1)
    mean, _, samples = restore(prior.denoise, measured, (1, SIDE, SIDE), config)
    covariance = torch.linalg.inv(torch.linalg.inv(prior.covariance) + torch.diag(1 / variances))
    exact = MEAN + ((observed.flatten(1) - MEAN) / variances) @ covariance
    assert (mean.flatten(1) - tiles).square().mean() < 1.01 * (exact - tiles).square().mean()
    scatter = (samples[0].flatten(1) - exact).square().mean(0) / covariance.diag()
    for some in variances.argsort().split(FLAT // 4):
        assert scatter[some].mean() == pytest.approx(1, abs=0.1)
    assert chi_square(measured, samples[0]).mean() == pytest.approx(1, abs=0.06)


def test_gmres_solves_systems_that_are_not_symmetric() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.eye(6) + 0.3 * torch.randn((3, 6, 6), generator=generator)
    right = torch.randn((3, 6, 1, 1), generator=generator)
    right[1] = 0
    expected = torch.linalg.solve(matrix, right.flatten(1))

    def system(z: Tensor) -> Tensor:
        return torch.einsum("bij,bj->bi", matrix, z.flatten(1)).view_as(z)

    torch.testing.assert_close(gmres(system, right, 6).flatten(1), expected, rtol=1e-3, atol=1e-4)
    misfits = [(system(gmres(system, right, n)) - right).flatten(1).norm(dim=1) for n in range(1, 6)]
    assert all((after <= before + 1e-5).all() for before, after in itertools.pairwise(misfits))


def affine_law_of_samples(prior: GaussianPrior, measured: Measurement) -> tuple[Tensor, Tensor]:
    """Exact mean and covariance of samples: with a Gaussian prior a sample is an affine function of its noise."""
    count = FLAT + 1
    noise = torch.cat([torch.zeros(1, FLAT), torch.eye(FLAT)]).double().view(count, 1, SIDE, SIDE)
    observed, seen = (x.expand(count, -1, -1, -1) for x in (measured.observed, measured.visibility))
    posterior = Posterior(prior.denoise, Measurement(observed, measured.operator, measured.noise, seen), iterations=30)
    samples = heun_sample(posterior.denoise, noise, noise_levels(64)).flatten(1)
    slopes = samples[1:] - samples[0]
    return samples[0], slopes.T @ slopes
