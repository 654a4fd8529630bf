"""EDM against the arrays of the published implementation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from oaml_core.restoration.edm import Preconditioned, drawn_noise, edm_loss, training_noise_levels
from oaml_core.restoration.sampler import heun_sample, noise_levels

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


def test_each_tile_has_noise_of_its_own_seed() -> None:
    together = drawn_noise([3, 5], (1, 4, 4))
    alone = drawn_noise([5], (1, 4, 4))
    assert torch.equal(together[0][1:], alone[0])
    assert torch.equal(together[1][1:], alone[1])
