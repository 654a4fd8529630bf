"""Findings about many images, column by column: a shard keeps them, and merging counts them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from oaml_core.data.sources.base import Ints


@dataclass(frozen=True)
class LookedImages:
    """Usable training images in the order of the source, one row per image."""

    numbers: Ints
    """int64 [N]: numbers of the images in the source."""
    digests: NDArray[np.uint8]
    """uint8 [N, 32]: SHA-256 of the encoded image."""
    sides: NDArray[np.int32]
    """int32 [N]: pixels of each side before resizing."""
    totals: Ints
    """int64 [N, 3]: sums of R, G, B over the pixels of the resized image."""
    lows: NDArray[np.uint8]
    """uint8 [N]: smallest value of a pixel."""
    highs: NDArray[np.uint8]
    """uint8 [N]: largest value of a pixel."""
    perceptual: NDArray[np.uint8]
    """uint8 [N, 16]: hashes that look-alikes are found by; [N, 0] where there is nothing to compare with."""

    def __len__(self) -> int:
        return len(self.numbers)

    def rows(self, chosen: NDArray[np.bool_]) -> LookedImages:
        """Return the images for which `chosen`, bool [N], is True."""
        return LookedImages(*(getattr(self, each.name)[chosen] for each in fields(self)))
