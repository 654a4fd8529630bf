"""Gaussian priors: what is learnt from tiles, posteriors in closed form, and the way of a user from tiles to faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_tiles import write_folder
from torch import Tensor

from oaml_core.cli import main
from oaml_core.config.restoration import RestorationConfig
from oaml_core.errors import ConfigError, DataError, ModelInputError
from oaml_core.restoration.evaluate import hidden_middle
from oaml_core.restoration.gaussian_prior import GaussianPrior
from oaml_core.restoration.gaussian_training import fit_gaussian
from oaml_core.restoration.measurement import Identity, LowResolution, Noise, measure
from oaml_core.restoration.posterior import Posterior
from oaml_core.restoration.prior import load_prior
from oaml_core.restoration.restore import posterior_mean, restore
from oaml_core.settings import load_config

SIDE, RANK = 6, 5
VALUES = 3 * SIDE * SIDE


def a_prior(dtype: torch.dtype = torch.float32) -> GaussianPrior:
    generator = torch.Generator().manual_seed(0)
    rest = 0.01 + 0.02 * torch.rand(3, SIDE, SIDE, generator=generator)
    components = 0.3 * torch.randn(VALUES, RANK, generator=generator)
    return GaussianPrior(*(x.to(dtype) for x in (torch.full((3, SIDE, SIDE), 0.1), components, rest)))


def drawn(prior: GaussianPrior, count: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    latent, rest = (torch.randn(count, n, generator=generator) for n in (RANK, VALUES))
    flat = latent @ prior.components.T + rest * prior.rest.flatten().sqrt()
    return prior.mean + flat.view(count, 3, SIDE, SIDE)


class ManyTiles:
    domains: tuple[str, ...] = ()

    def __init__(self, tiles: Tensor) -> None:
        self.tiles = tiles

    def __len__(self) -> int:
        return len(self.tiles)

    def read(self, index: int) -> Tensor:
        return self.tiles[index]

    def label(self, index: int) -> Tensor:
        return torch.zeros(0)


def covariance(prior: GaussianPrior) -> Tensor:
    return prior.components @ prior.components.T + torch.diag(prior.rest.flatten())


def test_mean_and_covariance_of_the_tiles_are_learnt() -> None:
    truth = a_prior()
    found = fit_gaussian(ManyTiles(drawn(truth, 4000)), SIDE, mirrored=False, rank=RANK)
    assert (found.mean - truth.mean).abs().max() < 0.1
    expected = covariance(truth)
    assert (covariance(found) - expected).norm() / expected.norm() < 0.12
    assert found.rest.mean() == pytest.approx(truth.rest.mean().item(), rel=0.03)


def alike(blocks: int, side: int) -> Tensor:
    """Tiles of a few components; what these leave is alike in blocks × blocks pixels of all three colours."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.randn(300, RANK, generator=generator) @ (0.2 * torch.randn(RANK, VALUES, generator=generator))
    rest = 0.3 * torch.randn(300, 1, side // blocks, side // blocks, generator=generator)
    tiles = coarse.view(-1, 3, SIDE, SIDE).repeat_interleave(side // SIDE, 2).repeat_interleave(side // SIDE, 3)
    return tiles + rest.repeat_interleave(blocks, 2).repeat_interleave(blocks, 3)


def test_values_count_as_much_as_they_tell_of_covered_ones() -> None:
    """Where the rest is alike in neighbours, independent values would make samples too sure of what is covered."""
    assert fit_gaussian(ManyTiles(drawn(a_prior(), 1000)), SIDE, mirrored=False, rank=RANK).evidence >= 0.5
    tiles = alike(2, 4 * SIDE)
    found = fit_gaussian(ManyTiles(tiles), 4 * SIDE, mirrored=False, rank=RANK)
    assert 1 / 48 < found.evidence < 1 / 3  # 12 values are alike
    seen = hidden_middle(tiles[:50])
    measured = measure(tiles[:50], Identity(), Noise(0.0, 0.0001), torch.Generator().manual_seed(4), seen)
    mean, deviation, _ = restore(found, measured, (3, 4 * SIDE, 4 * SIDE), RestorationConfig(samples=8))
    hidden = (seen == 0).expand_as(mean)
    error = (mean - tiles[:50])[hidden].square().mean().sqrt()
    assert deviation[hidden].square().mean().sqrt() == pytest.approx(error.item(), rel=0.25)


def test_many_alike_values_count_as_one_of_them() -> None:
    """No list of candidates ends above what is best."""
    found = fit_gaussian(ManyTiles(alike(6, 6 * SIDE)), 6 * SIDE, mirrored=False, rank=RANK)
    assert 1 / 432 < found.evidence < 1 / 32  # 108 values are alike


def test_what_is_visible_is_not_given_up_for_right_deviations() -> None:
    """A prior that learns nothing from visible values has right deviations too, as its variances are of such tiles."""
    tiles = alike(2, 4 * SIDE)
    found = fit_gaussian(ManyTiles(tiles), 4 * SIDE, mirrored=False, rank=RANK)
    seen = hidden_middle(tiles[-20:])
    measured = measure(tiles[-20:], Identity(), Noise(0.0, 0.0001), torch.Generator().manual_seed(4), seen)
    hidden = (seen == 0).expand_as(tiles[-20:])
    error, blind = (
        (mean - tiles[-20:])[hidden].square().mean()
        for mean in (
            posterior_mean(found, measured, (3, 24, 24), RestorationConfig()),
            found.mean.expand(20, -1, -1, -1),
        )
    )
    assert error < 0.75 * blind


def test_mirror_images_count_as_tiles_and_middles_are_taken() -> None:
    wide = torch.nn.functional.pad(drawn(a_prior(), 60), (2, 2, 2, 2), value=9.0)
    found = fit_gaussian(ManyTiles(wide), SIDE, mirrored=True, rank=RANK)
    torch.testing.assert_close(found.mean, found.mean.flip(2))
    assert found.mean.abs().max() < 2
    with pytest.raises(DataError, match=r"less than restoration\.tile_size 30"):
        fit_gaussian(ManyTiles(wide), 30, mirrored=True)
    with pytest.raises(DataError, match="at least 3 tiles"):
        fit_gaussian(ManyTiles(wide[:2]), SIDE, mirrored=True)


@pytest.mark.parametrize("covered", [True, False])
def test_samples_follow_the_closed_form(covered: bool) -> None:
    prior = a_prior()
    tile = drawn(prior, 1)
    seen = hidden_middle(tile) if covered else None
    measured = measure(tile, Identity(), Noise(0.0, 0.01), torch.Generator().manual_seed(2), seen)
    mean, _, samples = restore(prior, measured, (3, SIDE, SIDE), RestorationConfig(samples=4000))
    precision = measured.precision(tile).expand_as(tile).flatten()
    whole = torch.linalg.inv(torch.linalg.inv(covariance(prior)) + torch.diag(precision))
    expected = prior.mean.flatten() + whole @ (precision * (measured.observed - prior.mean).flatten())
    torch.testing.assert_close(mean.flatten(), expected, rtol=0, atol=1e-4)
    flat = samples.flatten(1)
    assert (flat.mean(0) - expected).norm() / whole.diag().sum().sqrt() < 0.05
    assert (torch.cov(flat.T) - whole).norm() / whole.norm() < 0.2  # of 4,000 draws of 108 values: 0.16
    assert flat.var(0).sum() == pytest.approx(whole.diag().sum().item(), rel=0.02)
    torch.testing.assert_close(posterior_mean(prior, measured, (3, SIDE, SIDE), RestorationConfig()), mean)


def test_samples_of_a_tile_depend_on_the_seed_and_their_number_alone() -> None:
    prior = a_prior()
    measured = measure(drawn(prior, 2), Identity(), Noise(0.0, 0.01), torch.Generator().manual_seed(2))
    one, two, other = (
        restore(prior, measured, (3, SIDE, SIDE), RestorationConfig(samples=n), seed=seed)[2]
        for n, seed in ((1, 0), (2, 0), (1, 1))
    )
    torch.testing.assert_close(one[0], two[0])
    assert (one - other).abs().max() > 0.1


def test_it_is_a_denoiser_for_measurements_that_mix_pixels() -> None:
    prior = a_prior(torch.float64)
    tile = drawn(a_prior(), 1).double()
    measured = measure(tile, LowResolution(2), Noise(0.0, 0.01), torch.Generator().manual_seed(2))
    estimate = Posterior(prior, measured, iterations=20).denoise(tile, torch.full((1,), 0.5, dtype=torch.float64))
    basis = torch.eye(VALUES).double().view(-1, 3, SIDE, SIDE)
    a = LowResolution(2)(basis).flatten(1).T
    information = torch.linalg.inv(covariance(prior)) + torch.eye(VALUES) / 0.25 + a.T @ a / 0.04
    right = (tile - prior.mean).flatten() / 0.25 + a.T @ measured.residual(prior.mean[None]).flatten() / 0.04
    expected = prior.mean.flatten() + torch.linalg.solve(information, right)
    torch.testing.assert_close(estimate.flatten(), expected, rtol=0, atol=1e-3)


def test_tiles_of_another_size_are_refused() -> None:
    prior = a_prior()
    measured = measure(torch.zeros(1, 3, 8, 8), Identity(), Noise(0.0, 0.01), torch.Generator())
    with pytest.raises(ModelInputError, match=r"aligned tiles of \[6, 6\] pixels, not of \[8, 8\]"):
        restore(prior, measured, (3, 8, 8), RestorationConfig())


RECIPE = """
name: tiny
tracking: {wandb: "off"}
restoration: {method: gaussian, tile_size: 8, samples: 2, test_tiles: 2}
"""


def test_a_user_fits_measures_and_applies_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiles = write_folder(
        tmp_path / "tiles",
        [{"id": f"t{i}", "is_clean": True, "split": "test" if i > 16 else "train"} for i in range(20)],
    )
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    places = ["--store", str(tmp_path / "store"), "--work_dir", str(tmp_path / "work")]
    given = ["--config", str(tmp_path / "recipe.yaml"), *places, "--restoration.tiles", str(tiles)]

    def run(*words: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(["restore", *words, *given])
        captured = capsys.readouterr()
        assert not end.value.code, captured.err
        return captured.out

    run("train", "--train.nproc", "2")
    checkpoint = next((tmp_path / "work" / "priors").glob("*/checkpoints/best.ckpt"))
    assert load_prior(checkpoint).images_seen == 17
    report = Path(run("evaluate", "--checkpoint", str(checkpoint)).splitlines()[-1])
    assert "covered" in report.with_name("restoration.json").read_text()
    picture = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(60, 200, (8, 8, 3), dtype=np.uint8)).save(picture)
    noise = ["--restoration.noise_a", "0.001", "--restoration.noise_b", "0.001"]
    run("apply", str(picture), "--checkpoint", str(checkpoint), "--out", str(tmp_path), *noise)
    assert Image.open(tmp_path / "a_restored.png").size == (8, 8)


def test_labels_are_refused() -> None:
    with pytest.raises(ConfigError, match="use_labels"):
        load_config(None, ["--restoration.method", "gaussian", "--restoration.use_labels", "true"])
