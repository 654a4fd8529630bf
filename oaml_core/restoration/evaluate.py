"""How well a prior restores tiles that it did not learn from: three noise levels, and covered regions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from oaml_core.config import RestorationConfig
from oaml_core.evaluation.statistics.bootstrap import Interval
from oaml_core.restoration.classical import non_local_means
from oaml_core.restoration.edm import Denoiser
from oaml_core.restoration.measurement import Identity, Noise, measure
from oaml_core.restoration.metrics import chi_square, coverage, psnr, ssim
from oaml_core.restoration.randomness import generator_of
from oaml_core.restoration.restore import restore

CAMERAS: Mapping[str, Noise] = {
    "light": Noise.of_camera(white_electrons=1000, read_noise_electrons=5),
    "medium": Noise.of_camera(white_electrons=200, read_noise_electrons=4),
    "dark": Noise.of_camera(white_electrons=50, read_noise_electrons=3),
}
"""Exposures: photo-electrons at white, and read noise."""
COVERED = "covered"
"""Condition: light noise, and the middle third of the tile covered."""
COVERAGE_LEVEL = 0.9
"""Level of the posterior intervals whose coverage is reported."""
MEASURED, CLASSICAL, ONE_SAMPLE, RESTORED = "measured", "non-local means", "one sample", "posterior mean"
ALL_SAMPLES = "all samples"
"""Methods; the last one in recognition alone: the mean embedding of the samples."""
PICTURES = 3
"""Tiles of each condition that are shown."""


@dataclass(frozen=True)
class Row:
    """One method under one condition; means over the tiles."""

    condition: str
    method: str
    psnr: float
    """dB; data range 2."""
    ssim: float
    chi_square: float | None = None
    """χ² of one posterior sample; 1: it explains the measurement to within its noise."""
    coverage: float | None = None
    """Share of pixels whose truth lies in the 90 % interval."""


@dataclass
class Picture:
    """One tile before, after and beside the truth, [C, H, W] in [-1, 1]; the deviation is not."""

    condition: str
    observed: Tensor
    restored: Tensor
    deviation: Tensor
    truth: Tensor


@dataclass
class RestorationEvaluation:
    """Restoration metrics for every condition."""

    rows: list[Row] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    recognition: list[RecognitionRow] = field(default_factory=list)
    """Verification of degraded faces."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time that each condition's sampling took."""

    def of(self, condition: str, method: str) -> Row:
        """Return the row of a method under a condition."""
        return next(row for row in self.rows if (row.condition, row.method) == (condition, method))

    def headline(self) -> dict[str, float]:
        """Return a few figures with names that do not change."""
        found = {f"psnr_{name}": self.of(name, RESTORED).psnr for name in CAMERAS}
        dark, sample = self.of("dark", RESTORED), self.of("dark", ONE_SAMPLE)
        named = {"coverage_dark": dark.coverage, "chi_square_dark": sample.chi_square}
        return found | {name: value for name, value in named.items() if value is not None}


def evaluate_tiles(
    denoiser: Denoiser, tiles: Tensor, config: RestorationConfig, *, seed: int = 0, device: str = "cpu"
) -> RestorationEvaluation:
    """Measure each tile by simulation, restore it, and compare.

    Args:
        denoiser: the prior.
        tiles: clean tiles [N, C, H, W] in [-1, 1] that the prior did not learn from.
        config: of the sampling.
        seed: of the simulated noise and of the sampling.
        device: to sample on.
    """
    found = RestorationEvaluation()
    for number, (condition, noise, seen) in enumerate(_conditions(tiles)):
        measured = measure(tiles, Identity(), noise, generator_of("measured", seed, number), seen)
        began = time.perf_counter()
        mean, deviation, samples = restore(denoiser, measured, tuple(tiles.shape[1:]), config, seed=seed, device=device)
        found.seconds[condition] = time.perf_counter() - began
        found.rows.append(_row(condition, MEASURED, measured.observed, tiles))
        if seen is None:
            found.rows.append(_row(condition, CLASSICAL, non_local_means(measured.observed, noise), tiles))
        explains = float(chi_square(measured, samples[0]).mean())
        found.rows.append(replace(_row(condition, ONE_SAMPLE, samples[0], tiles), chi_square=explains))
        covers = float(coverage(samples, tiles, COVERAGE_LEVEL).mean()) if len(samples) > 1 else None
        found.rows.append(replace(_row(condition, RESTORED, mean, tiles), coverage=covers))
        found.pictures += [
            Picture(condition, *four)
            for four in zip(*(x[:PICTURES] for x in (measured.observed, mean, deviation, tiles)), strict=True)
        ]
    return found


def hidden_middle(tiles: Tensor) -> Tensor:
    """Return visibility [B, 1, H, W] of tiles [B, C, H, W] whose middle third is covered."""
    height = tiles.shape[2]
    seen = torch.ones(len(tiles), 1, *tiles.shape[2:])
    seen[:, :, height // 3 : 2 * height // 3] = 0
    return seen


def _conditions(tiles: Tensor) -> list[tuple[str, Noise, Tensor | None]]:
    covered = (COVERED, CAMERAS["light"], hidden_middle(tiles))
    return [*((name, noise, None) for name, noise in CAMERAS.items()), covered]


def _row(condition: str, method: str, restored: Tensor, truth: Tensor) -> Row:
    return Row(condition, method, float(psnr(restored, truth).mean()), float(ssim(restored, truth).mean()))


@dataclass(frozen=True)
class RecognitionRow:
    """One kind of second face; intervals are of 95 %, shares in [0, 1]."""

    condition: str
    """`clean`, `dark` or `covered`."""
    faces: str
    """Kind of the faces: measured, restored, …"""
    pairs: int
    accuracy: Interval
    """Ten-fold, of the global score."""
    gain: Interval | None
    """Accuracy less that of the faces as measured, on the same pairs; None for these."""
    auc: float
    """Area under the ROC of the chosen pairs."""
    impostors: int
    """Pairs of first and second faces of different people: `tar` and `far_deployed` are measured on them."""
    far: float
    """False accept rate that `tar` is at."""
    tar: Interval
    """Share of genuine pairs accepted where these second faces accept `far` of the impostors."""
    tar_gain: Interval | None
    """`tar` less that of the faces as measured; None for these."""
    tar_deployed: Interval
    """Share of genuine pairs accepted at the threshold at which clean second faces accept `far`."""
    far_deployed: Interval
    """Share of impostors accepted at that threshold."""
    far_gain: Interval | None
    """`far_deployed` less that of the faces as measured; None for these."""
