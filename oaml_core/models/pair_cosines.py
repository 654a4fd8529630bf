"""Cosines of all places of one map with all places of another, for many pairs on a processor.

The vectors of a pair are read once more often than they are multiplied: fresh memory and a second way to main memory
for each intermediate result would take as long as the arithmetic. A few maps at a time pass through the same buffers,
and it is the cosines that are divided by the lengths, which are fewer than the features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from oaml_core.models.correlation import slices
from oaml_core.models.correlation_weighting import SMALLEST, inverse_lengths

MAPS_AT_ONCE = 4
"""Maps that pass through the buffers together: with their squares and factors they stay in a core's own cache of 1 to 2
MiB. Sixteen did not, and bfloat16 was slower than float32 for it."""


class _Side:
    """Maps [N, C, hw] as factors of a product, `MAPS_AT_ONCE` at a time, and the lengths of their vectors."""

    def __init__(self, maps: Tensor, squares: Tensor, product: torch.dtype) -> None:
        self._maps, self._squares = maps, squares
        self._factors = None if product == maps.dtype else torch.empty_like(squares, dtype=product)
        self._lengths = maps.new_empty((len(maps), maps.shape[2]))

    def factors(self, some: slice) -> Tensor:
        """Return these maps in the type of the product, and keep their lengths."""
        maps, squares = self._maps[some], self._squares[: some.stop - some.start]
        torch.mul(maps, maps, out=squares)
        torch.sum(squares, 1, out=self._lengths[some])
        return maps if self._factors is None else self._factors[: len(squares)].copy_(maps)

    def inverse_lengths(self) -> Tensor:
        """Return 1 / length [N, hw], once all factors were taken."""
        return self._lengths.clamp_min_(SMALLEST**2).rsqrt_()


def pair_cosines(probe: Tensor, gallery: Tensor, product: torch.dtype) -> Tensor:
    """Return cosines [N, hw, hw] of probe and gallery places.

    Args:
        probe, gallery: [N, C, hw] on the CPU, without gradient.
        product: type of the factors; the lengths are those of the maps as they are given.
    """
    cosines = probe.new_empty((len(probe), probe.shape[2], gallery.shape[2]))
    squares = torch.empty_like(probe[:MAPS_AT_ONCE])
    left, right = (_Side(maps, squares, product) for maps in (probe, gallery))
    products = torch.empty_like(cosines[:MAPS_AT_ONCE], dtype=product)
    for some in slices(len(probe), MAPS_AT_ONCE):
        factors = left.factors(some).transpose(1, 2), right.factors(some)
        cosines[some] = torch.bmm(*factors, out=products[: some.stop - some.start])
    return cosines.mul_(left.inverse_lengths()[:, :, None]).mul_(right.inverse_lengths()[:, None])


def few_with_many_cosines(probe: Tensor, gallery: Tensor, product: torch.dtype) -> Tensor:
    """Return cosines [G, P, hw, hw] of every probe's places with every gallery map's.

    Rows of the gallery maps, which a larger product would want, cost more than few probes gain by them.

    Args:
        probe: [P, C, hw] on the CPU, without gradient.
        gallery: [G, C, hw], likewise.
        product: type of the factors; the lengths are those of the maps as they are given.
    """
    rows = (probe * inverse_lengths(probe)).transpose(1, 2).flatten(0, 1).to(product)
    cosines = gallery.new_empty((len(gallery), len(rows), gallery.shape[2]))
    side = _Side(gallery, torch.empty_like(gallery[:MAPS_AT_ONCE]), product)
    products = torch.empty_like(cosines[:MAPS_AT_ONCE], dtype=product)
    for some in slices(len(gallery), MAPS_AT_ONCE):
        maps = side.factors(some)
        cosines[some] = torch.bmm(rows.expand(len(maps), -1, -1), maps, out=products[: len(maps)])
    cosines *= side.inverse_lengths()[:, None]
    return cosines.view(len(gallery), len(probe), probe.shape[2], gallery.shape[2])
