"""Measurement models, noise estimates and restoration metrics against what is known of simulated cameras."""

from __future__ import annotations

import math

import pytest
import torch

from oaml_core.errors import DataError, ModelInputError
from oaml_core.restoration.classical import non_local_means
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
from oaml_core.restoration.metrics import chi_square, coverage, psnr, ssim
from oaml_core.restoration.noise_estimation import noise_of_image, noise_of_pair


def smooth_scene(side: int = 128, seed: int = 0) -> torch.Tensor:
    """[1, 3, side, side] of slowly changing colours from nearly black to nearly white."""
    coarse = torch.rand((1, 3, 5, 5), generator=torch.Generator().manual_seed(seed))
    wide = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic", align_corners=True)
    return (wide * 1.8 - 0.9).clamp(-0.95, 0.95)


@pytest.mark.parametrize(
    "operator", [Identity(), LowResolution(2), GaussianBlur(1.0), Composition((GaussianBlur(0.7), LowResolution(2)))]
)
def test_the_adjoint_is_the_adjoint(operator: Operator) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((2, 3, 16, 16), generator=generator, dtype=torch.float64)
    y = torch.randn(operator(x).shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close((operator(x) * y).sum(), (x * operator.adjoint(y)).sum())


def test_noise_has_the_variance_of_the_camera() -> None:
    noise = Noise.of_camera(white_electrons=100, read_noise_electrons=5)
    for level in (-1.0, 0.0, 1.0):
        tile = torch.full((1, 1, 400, 400), level)
        observed = measure(tile, Identity(), noise, torch.Generator().manual_seed(0)).observed
        electrons = (level + 1) / 2 * 100
        assert observed.var() == pytest.approx(4 * (electrons + 25) / 100**2, rel=0.02)


@pytest.mark.parametrize("noise", [Noise(0.01, 0.0004), Noise(0.0, 0.001), Noise(0.02, 0.0)])
def test_a_calibration_pair_tells_the_noise(noise: Noise) -> None:
    scene, generator = smooth_scene(256), torch.Generator().manual_seed(1)
    first, second = (measure(scene, Identity(), noise, generator).observed for _ in range(2))
    found = noise_of_pair(first, second)
    for signal in (0.2, 0.5, 0.8):
        assert found.a * signal + found.b == pytest.approx(noise.a * signal + noise.b, rel=0.1)


def test_a_single_image_tells_the_noise_where_it_is_smooth() -> None:
    noise = Noise(0.01, 0.0004)
    observed = measure(smooth_scene(256), Identity(), noise, torch.Generator().manual_seed(1)).observed
    found = noise_of_image(observed)
    for signal in (0.2, 0.5, 0.8):
        assert found.a * signal + found.b == pytest.approx(noise.a * signal + noise.b, rel=0.2)


def test_covered_pixels_do_not_count_in_the_noise_of_an_image() -> None:
    noise, generator = Noise(0.01, 0.0004), torch.Generator().manual_seed(1)
    observed = measure(smooth_scene(128), Identity(), noise, generator).observed
    covered = observed.clone()
    covered[..., 40:90, :] = torch.rand((1, 3, 50, 128), generator=generator) * 2 - 1
    visible = torch.ones(1, 1, 128, 128)
    visible[..., 40:90, :] = 0
    found = noise_of_image(covered, visible)
    assert found.a * 0.5 + found.b == pytest.approx(noise.a * 0.5 + noise.b, rel=0.25)


def test_an_image_of_a_few_pixels_tells_no_noise() -> None:
    with pytest.raises(DataError, match="9 × 4 pixels are too few"):
        noise_of_image(torch.zeros(1, 3, 4, 9))


def test_the_truth_explains_the_measurement_to_within_its_noise() -> None:
    scene = smooth_scene()
    seen = torch.ones(1, 1, 128, 128)
    seen[..., :60, :] = 0
    measured = measure(scene, Identity(), Noise(0.02, 0.001), torch.Generator().manual_seed(0), seen)
    assert chi_square(measured, scene).item() == pytest.approx(1, abs=0.03)
    assert chi_square(measured, scene + 0.5).item() > 2


@pytest.mark.parametrize("count", [2, 4, 16])
def test_samples_of_the_right_law_cover_the_truth_as_often_as_they_say(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn((count, 4, 3, 64, 64), generator=generator)
    truth = torch.randn((4, 3, 64, 64), generator=generator)
    assert coverage(samples, truth, 0.9).mean().item() == pytest.approx(0.9, abs=0.01)
    assert coverage(samples * 0.3, truth, 0.9).mean() < 0.8


def test_psnr_and_ssim_are_those_of_their_definitions() -> None:
    scene = smooth_scene()
    assert psnr(scene + 0.02, scene).item() == pytest.approx(20 * math.log10(2 / 0.02), abs=0.05)
    assert ssim(scene, scene).item() == pytest.approx(1)


def test_non_local_means_takes_most_of_the_noise_of_a_smooth_scene() -> None:
    scene, noise = smooth_scene(64), Noise.of_camera(100, 3)
    observed = measure(scene, Identity(), noise, torch.Generator().manual_seed(0)).observed
    assert psnr(non_local_means(observed, noise), scene) > psnr(observed, scene) + 6


def test_what_cannot_be_a_measurement_is_refused() -> None:
    tile, noise = torch.zeros(1, 3, 8, 8), Noise(0.1, 0.1)
    with pytest.raises(ModelInputError, match="not finite"):
        Measurement(tile / 0, Identity(), noise)
    with pytest.raises(ModelInputError, match=r"\[0, 1\]"):
        Measurement(tile, Identity(), noise, torch.full((1, 1, 8, 8), 2.0))
    with pytest.raises(ModelInputError, match="does not fit"):
        Measurement(tile, Identity(), noise, torch.ones(1, 1, 4, 4))
    with pytest.raises(ModelInputError, match="variances"):
        Noise(0, 0)


def test_covered_pixels_are_completed_by_what_they_would_have_measured() -> None:
    scene, seen = smooth_scene(32), torch.ones(1, 1, 32, 32)
    seen[..., 10:20] = 0
    seen[..., :5] = 0.5
    measured = measure(scene, Identity(), Noise(0.001, 0.0), torch.Generator().manual_seed(0), seen)
    whole = measured.completed(scene, torch.Generator().manual_seed(1))
    assert whole.visibility is not None
    assert whole.visibility[..., 10:20].eq(1).all()
    assert whole.visibility[..., :5].eq(0.5).all()
    assert torch.equal(whole.observed[..., 20:], measured.observed[..., 20:])
    misfit = (whole.observed - scene)[..., 10:20]
    expected = Noise(0.001, 0.0).variance(scene)[..., 10:20].mean().sqrt()
    assert misfit.std() == pytest.approx(float(expected), rel=0.15)
