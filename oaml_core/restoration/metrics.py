"""How good a restoration is: against the truth, and against the measurement alone."""

from __future__ import annotations

import torch
from torch import Tensor

from oaml_core.restoration.measurement import Measurement

DATA_RANGE = 2.0
"""Range of the values of tiles: white − black."""


def psnr(restored: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each tile [B], after clipping to [-1, 1]; data range 2."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    clipped = restored.clamp(-1, 1)
    return torch.stack(
        [peak_signal_noise_ratio(one, other, data_range=DATA_RANGE) for one, other in zip(clipped, truth, strict=True)]
    )


def ssim(restored: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of each tile [B], after clipping to [-1, 1]; data range 2."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    value = structural_similarity_index_measure(restored.clamp(-1, 1), truth, data_range=DATA_RANGE, reduction="none")
    assert isinstance(value, Tensor)
    return value.reshape(len(truth))


def chi_square(measurement: Measurement, restored: Tensor) -> Tensor:
    """Return mean of (y − A·x)² / variance over the visible pixels of each tile [B]: about 1 if x explains the
    measurement
    to within its noise, below if the noise was fitted, above if detail was lost."""
    precision = measurement.precision(restored)
    visible = (precision > 0).expand_as(measurement.observed)
    squares = measurement.residual(restored).square() * precision
    return squares.flatten(1).sum(1) / visible.flatten(1).sum(1).clamp_min(1)


def coverage(samples: Tensor, truth: Tensor, level: float = 0.9) -> Tensor:
    """Return share of the pixels of each tile [B] whose truth lies in the samples' central interval; calibrated:
    `level`.

    The interval is mean ± t·deviation·√(1 + 1/n), t of Student's distribution with n − 1 degrees of freedom, which
    holds `level` of new draws of a normal distribution whatever the number of samples.

    Args:
        samples: [n, B, C, H, W], n ≥ 2.
        truth: [B, C, H, W].
        level: of the interval, in (0, 1).
    """
    from scipy.stats import t as student

    count = len(samples)
    reach = float(student.ppf((1 + level) / 2, count - 1)) * (1 + 1 / count) ** 0.5
    inside = (truth - samples.mean(0)).abs() <= reach * samples.std(0)
    result: Tensor = inside.float().flatten(1).mean(1)
    return result
