"""The denoiser to stand beside: variance stabilisation and non-local means, from a library."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oaml_core.restoration.measurement import Noise


def non_local_means(observed: Tensor, noise: Noise) -> Tensor:
    """Noisy tiles [B, C, H, W] in [-1, 1], denoised knowing a and b.

    The generalised Anscombe transform (Mäkitalo & Foi 2013) makes the noise's deviation 1 everywhere; non-local means
    (Buades et al. 2005, scikit-image's fast form, patches of 5 × 5 within ± 6 pixels, h = 0.8) then removes it.
    """
    signal = ((observed.double() + 1) / 2).cpu().numpy()
    restored = [without_white_noise(stabilised(tile, noise)) for tile in signal]
    back = destabilised(np.stack(restored), noise)
    return torch.from_numpy(back * 2 - 1).to(observed.dtype)


def without_white_noise(tile: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a tile [C, H, W] with noise of deviation 1, denoised by non-local means; see `non_local_means`."""
    from skimage.restoration import denoise_nl_means

    found: NDArray[np.float64] = denoise_nl_means(
        tile, patch_size=5, patch_distance=6, h=0.8, sigma=1.0, fast_mode=True, channel_axis=0
    )
    return found


def stabilised(signal: NDArray[np.float64], noise: Noise) -> NDArray[np.float64]:
    """Return a signal, black 0 and white 1, whose noise has deviation 1 everywhere (see `non_local_means`)."""
    if noise.a == 0:
        result: NDArray[np.float64] = signal / noise.b**0.5
        return result
    return 2 / noise.a * np.sqrt(np.maximum(noise.a * signal + 3 / 8 * noise.a**2 + noise.b, 0))


def destabilised(stabilised: NDArray[np.float64], noise: Noise) -> NDArray[np.float64]:
    """Return the unbiased inverse, up to O(1 / signal) (equation 10 there)."""
    if noise.a == 0:
        result: NDArray[np.float64] = stabilised * noise.b**0.5
        return result
    return noise.a * ((stabilised / 2) ** 2 - 1 / 8) - noise.b / noise.a
