"""How visibility weights correlations: which places may win a maximum, and how much each maximum counts.

`evidence` (the default) keeps the two questions apart. With cosines c[s, r] of probe place s and gallery place r,
visibility v(s) of the probe and u(r) of the gallery map, and λ = 2, the range of a cosine:

    q(s)     = λ·(1 − v(s) / max v)                   q(r) = λ·(1 − u(r) / max u)
    m(s)     = q(s) + max_r (c[s, r] − q(s) − q(r))   m(r) = q(r) + max_s (c[s, r] − q(s) − q(r))
    e(s)     = v(s)·u(s),   ē = mean of e             ê(s) = e(s) / (ē + τ·(1 − ē)),   τ = 0.01
    score    = Σ_s f(s)·ê(s)·x(m(s)) + the same over r

(x: the matcher's normalisation of a maximum, f: its weight of the place). The penalty q acts before the maximum: an
invisible place has at most −1, the least cosine, and cannot beat the place that is visible best; lowering a place's
visibility never makes it win. What a place's own visibility takes is given back after the maximum, where it is the
same for all partners. So visibility decides who wins and how much that counts, and does not shift cosines as such:
maps that are equally visible everywhere are compared like wholly visible ones. A maximum counts by the visibility of
its place on both faces: what one face hides has no counterpart there, and its best match says nothing about identity.
ê has mean 1 where there is evidence, and fades to 0 where there is none (a share of τ counts half): nothing visible
gives the sum 0, as if every maximum were one that x maps to 0.

`multiply` is the plain rule: m(s) = max_r v(s)·u(r)·c[s, r], and all places count alike. An occluded place has the
correlation 0, which beats negative ones and lowers sums.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Weighting = Literal["evidence", "multiply"]

RANGE_OF_COSINES = 2.0
"""λ above."""
LEAST_EVIDENCE = 0.01
"""τ above: half a place of a map of 7 × 7."""
SMALLEST = 1e-12
"""Lengths and visibilities below this are divided by it, so that zeros stay zeros."""


class Side(NamedTuple):
    """One of the two sets of maps, ready to be correlated."""

    rows: Tensor
    """[N, hw, C'], unit length or weighted; the product of two such rows is the weighted correlation."""
    penalty: Tensor | None
    """[N, hw], what a place's own visibility takes from its correlations; None: nothing."""


def inverse_lengths(maps: Tensor) -> Tensor:
    """1 / length of each place's vector, [N, 1, hw] of [N, C, hw]."""
    return maps.square().sum(1, keepdim=True).clamp_min(SMALLEST**2).rsqrt()


def penalties(visibility: Tensor) -> Tensor:
    """q above, [N, hw]; exactly 0 where a place is as visible as any."""
    best = visibility.amax(-1, keepdim=True).clamp_min(SMALLEST)
    return RANGE_OF_COSINES * (1 - visibility / best)


def weighted_side(
    maps: Tensor, visibility: Tensor | None, weighting: Weighting, product: torch.dtype, *, gallery: bool = False
) -> Side:
    """Rows whose products are the weighted correlations.

    Args:
        maps: [N, C, hw], any length.
        visibility: [N, hw] in [0, 1]; None: all visible.
        weighting: the rule.
        product: type that the rows will be multiplied in.
        gallery: the side is the gallery: its penalty stands where the probe has a 1, and the other way round.
    """
    rows = (maps * inverse_lengths(maps)).transpose(1, 2)
    if weighting == "multiply":
        return Side(rows if visibility is None else rows * visibility[..., None], None)
    # Zeros where all is visible, not rows without the two columns: the same arithmetic gives the same last digit.
    own = rows.new_zeros(rows.shape[:2]) if visibility is None else penalties(visibility)
    # As the product will round it, so that what is given back is what was taken.
    own = own.to(product).to(rows.dtype)
    columns = [torch.ones_like(own), -own] if gallery else [-own, torch.ones_like(own)]
    return Side(torch.cat([rows, torch.stack(columns, -1)], -1), own)


def evidence(probe: Tensor, gallery: Tensor) -> Tensor:
    """ê [..., hw, K] from visibilities that broadcast to this shape; exactly 1 where all is visible."""
    both = probe * gallery
    share = both.mean(-2, keepdim=True)
    return both / (share + LEAST_EVIDENCE * (1 - share))
