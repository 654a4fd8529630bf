"""EDM against the arrays of the published implementation."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from oaml_core.restoration.edm import Preconditioned, drawn_noise, edm_loss, training_noise_levels
from oaml_core.restoration.sampler import Stochasticity, heun_sample, noise_levels

REFERENCE = np.load(Path(__file__).parents[1] / "data" / "edm.npz")


def published(name: str) -> torch.Tensor:
    return torch.from_numpy(REFERENCE[name])


def gaussian_denoiser(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The best denoiser of tiles that are N(0.1, 0.25)."""
    return 0.1 + (x - 0.1) * 0.25 / (sigma.reshape(-1, 1, 1, 1) ** 2 + 0.25)


@pytest.mark.parametrize("steps", [18, 40])
def test_the_sampler_gives_the_published_samples(steps: int) -> None:
    levels = noise_levels(steps)
    sample = heun_sample(gaussian_denoiser, published("latents").double(), levels)
    torch.testing.assert_close(sample, published(f"heun_{steps}_steps"), rtol=1e-6, atol=1e-8)


def test_the_noise_levels_are_the_published_ones() -> None:
    levels = torch.tensor(noise_levels(18), dtype=torch.float64)
    torch.testing.assert_close(levels[:-1], published("sigma_steps_18").double(), rtol=1e-6, atol=0)
    assert levels[-1] == 0


def test_the_loss_is_the_published_one() -> None:
    sigma = training_noise_levels(published("rnd_normal").flatten())
    loss = edm_loss(
        lambda x, s: 0.9 * x / (1 + s.reshape(-1, 1, 1, 1)), published("images"), published("noise_unit"), sigma
    )
    torch.testing.assert_close(loss, published("loss"), rtol=1e-4, atol=1e-5)


def test_preconditioning_is_the_published_one() -> None:
    model = Preconditioned(lambda x, c: 0.3 * x + c.reshape(-1, 1, 1, 1))
    out = model(published("precond_x"), published("precond_sigma"))
    torch.testing.assert_close(out, published("precond_out"), rtol=1e-4, atol=1e-5)


def test_stochastic_samples_of_a_gaussian_have_its_mean_and_deviation() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((4000, 1, 2, 2), generator=generator, dtype=torch.float64)
    samples = heun_sample(gaussian_denoiser, noise, noise_levels(128), Stochasticity(churn=20), generator)
    assert abs(samples.mean() - 0.1) < 0.02
    assert abs(samples.std() - 0.5) < 0.02


def by_algorithm_2(noise: torch.Tensor, levels: list[float], added: Stochasticity, seed: int) -> torch.Tensor:
    """Return samples by algorithm 2 of Karras et al. 2022, line by line."""
    generator, x, steps = torch.Generator().manual_seed(seed), noise * levels[0], len(levels) - 1
    for t, after in pairwise(levels):
        hat = t
        if added.sigma_min <= t <= added.sigma_max:
            hat = t + min(added.churn / steps, 2**0.5 - 1) * t
            epsilon = added.noise * torch.randn(x.shape, generator=generator, dtype=x.dtype)
            x = x + (hat**2 - t**2) ** 0.5 * epsilon
        d = (x - gaussian_denoiser(x, torch.full((len(x),), hat))) / hat
        moved = x + (after - hat) * d
        if after != 0:
            again = (moved - gaussian_denoiser(moved, torch.full((len(x),), after))) / after
            moved = x + (after - hat) * (0.5 * d + 0.5 * again)
        x = moved
    return x


@pytest.mark.parametrize("churn", [2.0, 400.0])
def test_noise_is_added_back_as_the_published_algorithm_does(churn: float) -> None:
    added = Stochasticity(churn=churn, sigma_min=0.05, sigma_max=50.0, noise=1.003)
    noise, levels = published("latents").double(), noise_levels(18)
    sample = heun_sample(gaussian_denoiser, noise, levels, added, torch.Generator().manual_seed(3))
    torch.testing.assert_close(sample, by_algorithm_2(noise, levels, added, 3), rtol=1e-6, atol=1e-8)


def test_stochasticity_adds_nothing_unless_it_is_asked_for() -> None:
    noise, levels = published("latents").double(), noise_levels(18)
    generator = torch.Generator().manual_seed(3)
    sample = heun_sample(gaussian_denoiser, noise, levels, Stochasticity(), generator)
    assert torch.equal(sample, heun_sample(gaussian_denoiser, noise, levels))
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(3).get_state())
    assert Stochasticity(churn=1).gamma(1e-9, 10) == 0.1


def test_each_tile_has_noise_of_its_own_seed() -> None:
    together = drawn_noise([3, 5], (1, 4, 4))
    alone = drawn_noise([5], (1, 4, 4))
    assert torch.equal(together[0][1:], alone[0])
    assert torch.equal(together[1][1:], alone[1])
