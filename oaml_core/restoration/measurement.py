"""How a tile was measured: y = A·x + noise, with A linear and the noise's variance a·signal + b at every pixel.

Tiles are in [-1, 1]; their signal is (tile + 1) / 2, black 0 and white 1. `a` and `b` are in units of the signal: for
a camera whose white is n photo-electrons and whose read noise is r electrons, a = 1 / n and b = (r / n)². A pixel
that shows something else than the scene (an occluder) has an infinite variance; a visibility map says which.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from oaml_core.errors import ModelInputError

DARKEST = 1e-6
"""Least variance, in signal units: a noiseless pixel would have an infinite weight."""


class Operator(ABC):
    """The linear part A of a measurement."""

    @abstractmethod
    def __call__(self, tiles: Tensor) -> Tensor:
        """A·x: [B, C, H, W] → [B, C, h, w]."""

    @abstractmethod
    def adjoint(self, measured: Tensor) -> Tensor:
        """Return Aᵀ·y, [B, C, H, W], of a measurement [B, C, h, w]."""


class Identity(Operator):
    """Operator that measures every pixel as it is."""

    def __call__(self, tiles: Tensor) -> Tensor:
        return tiles

    def adjoint(self, measured: Tensor) -> Tensor:
        return measured


@dataclass(frozen=True)
class LowResolution(Operator):
    """Means of factor × factor pixels, as larger sensor pixels see them."""

    factor: int

    def __call__(self, tiles: Tensor) -> Tensor:
        if tiles.shape[2] % self.factor or tiles.shape[3] % self.factor:
            raise ModelInputError(f"Tiles of {list(tiles.shape[2:])} pixels do not divide by {self.factor}.")
        return functional.avg_pool2d(tiles, self.factor)

    def adjoint(self, measured: Tensor) -> Tensor:
        wide = measured.repeat_interleave(self.factor, 2).repeat_interleave(self.factor, 3)
        return wide / self.factor**2


@dataclass(frozen=True)
class GaussianBlur(Operator):
    """Gaussian blur of standard deviation `sigma` pixels; only pixels whose neighbourhood is inside are measured."""

    sigma: float

    @property
    def margin(self) -> int:
        """Pixels that the measurement is narrower than the tile, on each side."""
        return max(1, round(3 * self.sigma))

    def __call__(self, tiles: Tensor) -> Tensor:
        row, column = self._kernels(tiles)
        channels = tiles.shape[1]
        return functional.conv2d(functional.conv2d(tiles, row, groups=channels), column, groups=channels)

    def adjoint(self, measured: Tensor) -> Tensor:
        row, column = self._kernels(measured)
        channels = measured.shape[1]
        wide = functional.conv_transpose2d(measured, column, groups=channels)
        return functional.conv_transpose2d(wide, row, groups=channels)

    def _kernels(self, like: Tensor) -> tuple[Tensor, Tensor]:
        places = torch.arange(-self.margin, self.margin + 1, dtype=like.dtype, device=like.device)
        weights = torch.exp(-0.5 * (places / self.sigma).square())
        weights = (weights / weights.sum()).repeat(like.shape[1], 1, 1, 1)
        return weights, weights.transpose(2, 3)


@dataclass(frozen=True)
class Composition(Operator):
    """One operator after the other."""

    operators: tuple[Operator, ...]
    """The first is applied first."""

    def __call__(self, tiles: Tensor) -> Tensor:
        for operator in self.operators:
            tiles = operator(tiles)
        return tiles

    def adjoint(self, measured: Tensor) -> Tensor:
        for operator in reversed(self.operators):
            measured = operator.adjoint(measured)
        return measured


@dataclass(frozen=True)
class Noise:
    """Gaussian noise of variance a·signal + b, independent at every pixel: photons and electronics."""

    a: float
    """Variance per signal, ≥ 0."""
    b: float
    """Variance of black, ≥ 0."""

    def __post_init__(self) -> None:
        if self.a < 0 or self.b < 0 or self.a + self.b == 0:
            raise ModelInputError(f"Noise a = {self.a}, b = {self.b}: variances are not negative, and not both 0.")

    @classmethod
    def of_camera(cls, white_electrons: float, read_noise_electrons: float) -> Noise:
        """Return the noise of a camera whose white level is `white_electrons` photo-electrons.

        Args:
            white_electrons: (white level − black level in digital numbers) · gain in electrons per digital number.
            read_noise_electrons: standard deviation of the read noise.
        """
        return cls(1 / white_electrons, (read_noise_electrons / white_electrons) ** 2)

    def variance(self, tiles: Tensor) -> Tensor:
        """Variance at each pixel of noiseless tiles, in units of tiles (white − black = 2), not of the signal."""
        signal = ((tiles + 1) / 2).clamp_min(0)
        return 4 * (self.a * signal + self.b).clamp_min(DARKEST)


@dataclass(frozen=True)
class Measurement:
    """Measured tiles, and how they were measured."""

    observed: Tensor
    """y, [B, C, h, w]."""
    operator: Operator
    noise: Noise
    visibility: Tensor | None = None
    """[B, 1, h, w] in [0, 1]: each pixel's weight of evidence; 0: its variance is infinite. None: all 1."""

    def __post_init__(self) -> None:
        if not torch.isfinite(self.observed).all():
            raise ModelInputError("The measurement has values that are not finite. Mark such pixels invisible and 0.")
        seen = self.visibility
        if seen is None:
            return
        if seen.ndim != 4 or seen.shape[2:] != self.observed.shape[2:] or len(seen) != len(self.observed):
            raise ModelInputError(
                f"Visibility {list(seen.shape)} does not fit a measurement {list(self.observed.shape)}."
            )
        if bool(((seen < 0) | (seen > 1)).any()):
            raise ModelInputError("Visibility is a share in [0, 1].")

    def precision(self, tiles: Tensor) -> Tensor:
        """Return 1 / variance at each measured pixel, for the scene `tiles` [B, C, H, W]."""
        precision = 1 / self.noise.variance(self.operator(tiles))
        return precision if self.visibility is None else precision * self.visibility

    def residual(self, tiles: Tensor) -> Tensor:
        """Return y − A·x: the measurement less that of the scene."""
        return self.observed - self.operator(tiles)

    def completed(self, tiles: Tensor, generator: torch.Generator) -> Measurement:
        """Return the same, with what the covered pixels would have measured if the scene were `tiles` [B, C, H, W]."""
        if self.visibility is None:
            return self
        seen, simulated = self.visibility > 0, measure(tiles, self.operator, self.noise, generator).observed
        visibility = torch.where(seen, self.visibility, 1)
        return Measurement(torch.where(seen, self.observed, simulated), self.operator, self.noise, visibility)

    def part(self, some: slice) -> Measurement:
        """Return the measurement of some of the tiles."""
        seen = None if self.visibility is None else self.visibility[some]
        return Measurement(self.observed[some], self.operator, self.noise, seen)

    def to(self, device: torch.device | str) -> Measurement:
        """Return the same on `device`."""
        seen = None if self.visibility is None else self.visibility.to(device)
        return Measurement(self.observed.to(device), self.operator, self.noise, seen)


def measure(
    tiles: Tensor,
    operator: Operator,
    noise: Noise,
    generator: torch.Generator,
    visibility: Tensor | None = None,
) -> Measurement:
    """Measure clean tiles [B, C, H, W] in [-1, 1]; invisible pixels come out black."""
    clean = operator(tiles)
    unit = torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
    observed = clean + unit.to(clean.device) * noise.variance(clean).sqrt()
    if visibility is not None:
        observed = torch.where(visibility > 0, observed, -torch.ones_like(observed))
    return Measurement(observed, operator, noise, visibility)
