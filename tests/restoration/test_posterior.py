"""Posterior samples of Gaussian priors, whose posterior is known in closed form: this catches a wrong likelihood."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

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
from oaml_core.restoration.posterior import Method, Posterior
from oaml_core.restoration.sampler import heun_sample, noise_levels

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


CASES: list[tuple[Method, GaussianPrior, Operator]] = [
    ("pigdm", white(), Identity()),
    ("pigdm", white(), LowResolution(2)),
    ("mmps", white(), GaussianBlur(0.6)),
    ("mmps", smooth(), Identity()),
    ("mmps", smooth(), Composition((GaussianBlur(0.6), LowResolution(2)))),
]


@pytest.mark.parametrize(("method", "prior", "operator"), CASES)
def test_mean_and_variance_are_those_of_the_closed_form(
    method: Method, prior: GaussianPrior, operator: Operator
) -> None:
    generator = torch.Generator().manual_seed(1)
    scene = prior.draw(generator)
    shape = operator(scene).shape
    seen = torch.rand((1, 1, *shape[2:]), generator=generator, dtype=torch.float64)
    seen[..., :1, :1] = 0  # variance infinite
    measured = measure(scene, operator, Noise(a=0.0, b=0.01), generator, seen)
    mean, covariance = affine_law_of_samples(prior, measured, method)
    expected_mean, expected_covariance = prior.posterior(measured)
    assert (mean - expected_mean).norm() / (expected_mean - MEAN).norm() < 0.05
    assert (covariance - expected_covariance).norm() / expected_covariance.norm() < 0.05


def affine_law_of_samples(prior: GaussianPrior, measured: Measurement, method: Method) -> tuple[Tensor, Tensor]:
    """Exact mean and covariance of samples: with a Gaussian prior a sample is an affine function of its noise."""
    count = FLAT + 1
    noise = torch.cat([torch.zeros(1, FLAT), torch.eye(FLAT)]).double().view(count, 1, SIDE, SIDE)
    observed, seen = (x.expand(count, -1, -1, -1) for x in (measured.observed, measured.visibility))
    posterior = Posterior(
        prior.denoise, Measurement(observed, measured.operator, measured.noise, seen), method, iterations=30
    )
    samples = heun_sample(posterior.denoise, noise, noise_levels(64)).flatten(1)
    slopes = samples[1:] - samples[0]
    return samples[0], slopes.T @ slopes
