"""Restore an image that somebody has: its noise known or estimated, its covered pixels marked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from oaml_core.config_restoration import RestorationConfig
from oaml_core.data.decode import decode_image, decode_mask
from oaml_core.errors import DataError
from oaml_core.restoration.face_tiles import to_image, to_tile
from oaml_core.restoration.measurement import (
    Composition,
    GaussianBlur,
    Identity,
    LowResolution,
    Measurement,
    Noise,
    Operator,
)
from oaml_core.restoration.metrics import chi_square
from oaml_core.restoration.noise_estimation import noise_of_image, noise_of_pair
from oaml_core.restoration.prior import Prior
from oaml_core.restoration.report import uncertainty_tile
from oaml_core.restoration.restore import restore

MARGIN = 8
"""Pixels that an image is extended by at least, so that its border has neighbours to be judged by."""


@dataclass(frozen=True)
class Restored:
    """What came out."""

    image: Path
    uncertainty: Path
    noise: Noise
    chi_square: float
    """Of the posterior mean; far above 1: the measurement is not what was assumed."""

    def __str__(self) -> str:
        return (
            f"noise variance {self.noise.a:.3g}·signal + {self.noise.b:.3g}; χ² a pixel {self.chi_square:.2f}\n"
            f"{self.image}\n{self.uncertainty}"
        )


def build_operator(low_resolution: int = 1, blur: float = 0.0) -> Operator:
    """Blur by `blur` pixels, then means of low_resolution² pixels; the identity for 0 and 1."""
    steps: list[Operator] = [GaussianBlur(blur)] if blur > 0 else []
    steps += [LowResolution(low_resolution)] if low_resolution > 1 else []
    if len(steps) == 1:
        return steps[0]
    return Composition(tuple(steps)) if steps else Identity()


def restore_image(
    prior: Prior,
    path: Path,
    out: Path,
    config: RestorationConfig,
    *,
    operator: Operator | None = None,
    mask: Path | None = None,
    second_shot: Path | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Restored:
    """Write the posterior mean as `<name>_restored.png` and its deviation as `<name>_uncertainty.png` into `out`.

    Args:
        prior: what clean images look like.
        path: the measured image.
        out: folder.
        config: of the sampling; `noise_a` and `noise_b`, or None to estimate them.
        operator: what was measured; None: every pixel.
        mask: image of the same size, white = visible, black = covered.
        second_shot: the same scene once more: the noise is estimated from both, the first is restored.

    Raises:
        DataError: an image cannot be read, or sizes differ.
    """
    operator = operator or Identity()
    observed = _read(path)
    seen = None if mask is None else _read_mask(mask, observed)
    noise = _noise(observed, seen, config, second_shot)
    height, width = _scene_size(operator, observed)
    multiple = 2 ** (len(config.channel_mult) - 1)
    if isinstance(operator, Identity):
        # Reflected pixels are as good as measured ones to the network, and are not: they have no evidence.
        wide, seen, corner = _extended(observed, seen, multiple)
        measured = Measurement(wide, operator, noise, seen)
        mean, deviation, _ = restore(prior, measured, tuple(wide.shape[1:]), config, seed=seed, device=device)
        mean, deviation = (x[..., corner : corner + height, corner : corner + width] for x in (mean, deviation))
        measured = Measurement(observed, operator, noise, None if mask is None else _read_mask(mask, observed))
    else:
        if height % multiple or width % multiple:
            raise DataError(f"{path}: the scene has {height} × {width} pixels; crop so that they divide by {multiple}.")
        measured = Measurement(observed, operator, noise, seen)
        mean, deviation, _ = restore(prior, measured, (3, height, width), config, seed=seed, device=device)
    out.mkdir(parents=True, exist_ok=True)
    restored, uncertainty = (out / f"{path.stem}_{what}.png" for what in ("restored", "uncertainty"))
    Image.fromarray(to_image(mean[0])).save(restored)
    Image.fromarray(to_image(uncertainty_tile(deviation[0]))).save(uncertainty)
    return Restored(restored, uncertainty, noise, float(chi_square(measured, mean)[0]))


def _read(path: Path) -> Tensor:
    """[1, 3, H, W] in [-1, 1]."""
    try:
        image = decode_image(path.read_bytes())
    except (OSError, DataError) as error:
        raise DataError(f"{path}: {error}") from None
    return to_tile(torch.from_numpy(image.copy()).permute(2, 0, 1))[None]


def _read_mask(path: Path, observed: Tensor) -> Tensor:
    try:
        mask = decode_mask(path.read_bytes())
    except (OSError, DataError) as error:
        raise DataError(f"{path}: {error}") from None
    if mask.shape != tuple(observed.shape[2:]):
        raise DataError(f"{path} has {list(mask.shape)} pixels, the image {list(observed.shape[2:])}.")
    return torch.from_numpy(mask.astype(np.float32) / 255)[None, None]


def _noise(observed: Tensor, seen: Tensor | None, config: RestorationConfig, second_shot: Path | None) -> Noise:
    if config.noise_a is not None and config.noise_b is not None:
        return Noise(config.noise_a, config.noise_b)
    if second_shot is not None:
        return noise_of_pair(observed, _read(second_shot))
    return noise_of_image(observed, seen)


def _scene_size(operator: Operator, observed: Tensor) -> tuple[int, int]:
    scene = operator.adjoint(torch.zeros_like(observed))
    return int(scene.shape[2]), int(scene.shape[3])


def _extended(observed: Tensor, seen: Tensor | None, multiple: int) -> tuple[Tensor, Tensor, int]:
    """The image reflected at its borders to a size that divides, what of it is evidence, and where it begins."""
    height, width = observed.shape[2:]
    right, below = (MARGIN + (-(side + 2 * MARGIN)) % multiple for side in (width, height))
    sides = (MARGIN, right, MARGIN, below)
    mask = torch.ones_like(observed[:, :1]) if seen is None else seen
    return functional.pad(observed, sides, mode="reflect"), functional.pad(mask, sides), MARGIN
