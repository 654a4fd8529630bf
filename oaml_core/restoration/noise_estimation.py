"""The noise of a camera, variance = a·signal + b, from two shots of the same scene or from one image."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from oaml_core.errors import DataError
from oaml_core.restoration.measurement import DARKEST, Noise

BINS = 32
"""Signal levels between black and white at which the variance is looked at."""
LEAST_PIXELS = 64
"""In a bin; bins with fewer say nothing."""
DIFFERENCES = ((1.0, -2.0, 1.0), (-2.0, 4.0, -2.0), (1.0, -2.0, 1.0))
"""Second differences along both axes (Immerkær 1996): planes vanish, white noise has 36 times its variance."""
SMOOTHING = 2.0
"""Pixels of blur before a single image is searched for flat places, so that noise does not choose them."""
FLAT_SHARE = 0.4
"""Share of the places, the flattest ones, that the noise of a single image is read from."""


GIVE = "Give restoration.noise_a and restoration.noise_b."
"""The remedy where noise cannot be estimated."""


def noise_of_pair(first: Tensor, second: Tensor) -> Noise:
    """Estimate noise from two shots of one still scene: half the variance of their difference, against their mean.

    Args:
        first, second: [..., C, H, W] in [-1, 1].

    Raises:
        DataError: the shots differ in shape, or too few pixels are neither black nor white.
    """
    if first.shape != second.shape:
        sizes = " and ".join(f"{one.shape[-1]} × {one.shape[-2]}" for one in (first, second))
        raise DataError(f"Both shots must show the same pixels; they have {sizes}. Give a second shot of that size.")
    signal = ((first + second) / 2 + 1) / 2
    difference = (first - second) / 2  # in units of the signal, whose range is half that of tiles
    return _fit(signal, difference / 2**0.5, gaussian_share=1.0)


def noise_of_image(image: Tensor, visible: Tensor | None = None) -> Noise:
    """Estimate noise from a single image: second differences at its flattest places.

    Texture that is finer than the places are chosen by counts as noise: an upper estimate on images without any flat
    place.

    Args:
        image: [..., C, H, W] in [-1, 1].
        visible: [..., 1, H, W]; where it is 0, and near there, nothing is looked at. None: all visible.

    Raises:
        DataError: the image is too small, or nearly all black or white.
    """
    channels, (height, width) = int(np.prod(image.shape[:-2])), image.shape[-2:]
    if min(height, width) <= 2 * SMOOTHING:
        raise DataError(f"{width} × {height} pixels are too few to estimate noise from. {GIVE}")
    flat = image.reshape(channels, 1, height, width).double()
    kernel = torch.tensor(DIFFERENCES, dtype=flat.dtype, device=flat.device)[None, None]
    signal = (_blurred(flat) + 1) / 2
    slope = functional.conv2d(signal, kernel).abs() + _gradient(signal)[..., 1:-1, 1:-1]
    residual = functional.conv2d(flat / 2, kernel) / 6
    if visible is not None:
        far = _far_from_covers(visible).expand(image.shape).reshape(flat.shape)[..., 1:-1, 1:-1]
        slope = torch.where(far, slope, torch.inf)
    ordered = slope[slope.isfinite()].sort().values
    if not len(ordered):
        raise DataError(f"No pixel is far enough from a covered one to estimate noise from. {GIVE}")
    chosen = slope <= ordered[int(FLAT_SHARE * (len(ordered) - 1))]
    return _fit(signal[..., 1:-1, 1:-1][chosen], residual[chosen], gaussian_share=0.6745)


def _fit(signal: Tensor, residual: Tensor, *, gaussian_share: float) -> Noise:
    """a and b, neither negative, by weighted least squares over bins of the signal.

    Args:
        signal: where each residual was seen.
        residual: zero-mean, of the noise's deviation.
        gaussian_share: 1: the variance of a bin is its mean square; else its deviation is its median absolute value
            divided by this, which outliers do not move.
    """
    s, r = (x.flatten().double().cpu().numpy() for x in (signal, residual))
    inside = (s > 0.01) & (s < 0.99)
    s, r = s[inside], r[inside]
    edges = np.linspace(0, 1, BINS + 1)
    number = np.clip(np.digitize(s, edges) - 1, 0, BINS - 1)
    rows = []
    for i in range(BINS):
        here = r[number == i]
        if len(here) >= LEAST_PIXELS:
            spread = np.median(np.abs(here)) / gaussian_share if gaussian_share < 1 else np.sqrt(np.mean(here**2))
            rows.append((s[number == i].mean(), spread**2, len(here)))
    if not rows:
        raise DataError(
            f"Too few pixels to estimate noise from: of the flattest {len(s)} are neither black nor white. {GIVE}"
        )
    level, variance, count = np.array(rows).T
    # The variance of an estimated variance v from n values is proportional to v² / n.
    weight = np.sqrt(count) / np.maximum(variance, DARKEST)
    a, b = _not_negative(level, variance, weight)
    return Noise(a, max(b, DARKEST if a == 0 else 0.0))


def _not_negative(level: np.ndarray, variance: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    from scipy.optimize import nnls

    design = np.stack([level, np.ones_like(level)], 1) * weight[:, None]
    (a, b), _ = nnls(design, variance * weight)
    return float(a), float(b)


def _far_from_covers(visible: Tensor) -> Tensor:
    """Return True where no covered pixel is within reach of the blur."""
    reach = 2 * round(2 * SMOOTHING) + 3
    covered = (visible <= 0).to(torch.float32).reshape(-1, 1, *visible.shape[-2:])
    return (functional.max_pool2d(covered, reach, 1, reach // 2) == 0).reshape(visible.shape)


def _blurred(images: Tensor) -> Tensor:
    radius = round(2 * SMOOTHING)
    places = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    weights = torch.exp(-0.5 * (places / SMOOTHING).square())
    weights = (weights / weights.sum()).view(1, 1, 1, -1)
    wide = functional.pad(images, (radius, radius, radius, radius), mode="reflect")
    return functional.conv2d(functional.conv2d(wide, weights), weights.transpose(2, 3))


def _gradient(images: Tensor) -> Tensor:
    across = functional.pad(images[..., 2:] - images[..., :-2], (1, 1, 0, 0)).abs()
    down = functional.pad(images[..., 2:, :] - images[..., :-2, :], (0, 0, 1, 1)).abs()
    return across + down
