"""Cosines of all places of one map with all places of another, for many pairs on a processor.

The vectors of a pair are read once more often than they are multiplied: fresh memory and a second way to main memory
for each intermediate result would take as long as the arithmetic. A few pairs at a time pass through the same buffers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from oaml_core.models.correlation import slices
from oaml_core.models.correlation_weighting import SMALLEST

PAIRS_AT_ONCE = 16


def pair_cosines(probe: Tensor, gallery: Tensor, product: torch.dtype) -> Tensor:
    """Return cosines [N, hw, hw] of probe and gallery places.

    Args:
        probe, gallery: [N, C, hw] on the CPU, without gradient.
        product: type of the factors; the lengths are those of the maps as they are given.
    """
    count = max(1, min(PAIRS_AT_ONCE, len(probe)))
    cosines = probe.new_empty((len(probe), probe.shape[2], gallery.shape[2]))
    lengths = [maps.new_empty((len(maps), maps.shape[2])) for maps in (probe, gallery)]
    squares = torch.empty_like(probe[:count])
    factors = [torch.empty_like(squares, dtype=product) for _ in lengths]
    products = torch.empty_like(cosines[:count], dtype=product)
    for some in slices(len(probe), count):
        pairs = slice(0, some.stop - some.start)
        for maps, factor, length in zip((probe, gallery), factors, lengths, strict=True):
            if product != probe.dtype:
                factor[pairs].copy_(maps[some])
            torch.mul(maps[some], maps[some], out=squares[pairs])
            torch.sum(squares[pairs], 1, out=length[some])
        left, right = (factors[0][pairs], factors[1][pairs]) if product != probe.dtype else (probe[some], gallery[some])
        cosines[some] = torch.bmm(left.transpose(1, 2), right, out=products[pairs])
    inverse = [length.clamp_min_(SMALLEST**2).rsqrt_() for length in lengths]
    return cosines.mul_(inverse[0][:, :, None]).mul_(inverse[1][:, None])
