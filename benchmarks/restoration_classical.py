"""Restoration without a prior, to compare with: every method knows the noise, as the prior does."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oaml_core.restoration.classical import destabilised, stabilised, without_white_noise
from oaml_core.restoration.measurement import Measurement

Denoised = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""[3, H, W] with noise of deviation 1 → the same, denoised."""


def wiener(tile: NDArray[np.float64]) -> NDArray[np.float64]:
    """Wiener's filter of local means and variances (scipy, windows of 5 × 5)."""
    from scipy.signal import wiener as filtered

    return np.stack([filtered(channel, mysize=5, noise=1.0) for channel in tile])


def total_variation(tile: NDArray[np.float64]) -> NDArray[np.float64]:
    """Total variation (Chambolle, scikit-image), its weight such that as much is removed as there is noise."""
    from skimage.restoration import denoise_tv_chambolle

    low, high = 0.01, 10.0
    for _ in range(12):
        weight = (low * high) ** 0.5
        found = denoise_tv_chambolle(tile, weight=weight, channel_axis=0)
        low, high = (weight, high) if np.square(tile - found).mean() < 1 else (low, weight)
    return found


def block_matching(tile: NDArray[np.float64]) -> NDArray[np.float64]:
    """BM3D for colours (Mäkinen et al. 2020, package bm3d) on a range from 0 to 1, which its settings expect."""
    from bm3d import bm3d_rgb

    low, span = tile.min(), np.ptp(tile)
    found = bm3d_rgb(((tile - low) / span).transpose(1, 2, 0), sigma_psd=1 / span)
    return found.transpose(2, 0, 1) * span + low


METHODS: Mapping[str, Denoised] = {
    "Wiener's filter": wiener,
    "total variation": total_variation,
    "non-local means": without_white_noise,
    "BM3D": block_matching,
}
"""Denoisers by name."""


def restored(measured: Measurement, denoised: Denoised) -> Tensor:
    """Return restored tiles [B, C, H, W]: covered pixels filled in smoothly, noise stabilised and removed.

    Args:
        measured: tiles of which every pixel was measured, or covered.
        denoised: one of `METHODS`.
    """
    from skimage.restoration import inpaint_biharmonic

    signal = ((measured.observed.double() + 1) / 2).numpy()
    if measured.visibility is not None:
        covered = (measured.visibility[:, 0] == 0).numpy()
        pairs = zip(signal, covered, strict=True)
        signal = np.stack([inpaint_biharmonic(tile, mask, channel_axis=0) for tile, mask in pairs])
    flat = np.stack([denoised(stabilised(tile, measured.noise)) for tile in signal])
    return torch.from_numpy(destabilised(flat, measured.noise) * 2 - 1).to(measured.observed.dtype)
