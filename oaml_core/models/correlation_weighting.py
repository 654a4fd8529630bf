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

`none` leaves visibility out: every place is compared and counts as if it were visible.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

Weighting = Literal["evidence", "multiply", "none"]

RANGE_OF_COSINES = 2.0
"""λ above."""
LEAST_EVIDENCE = 0.01
"""τ above: half a place of a map of 7 × 7."""
SMALLEST = 1e-12
"""Lengths and visibilities below this are divided by it, so that zeros stay zeros."""


class WeightedSide(NamedTuple):
    """One of the two sets of maps, ready to be correlated."""

    rows: Tensor
    """[N, hw, C'], unit length or weighted; the product of two such rows is the weighted correlation."""
    penalty: Tensor | None
    """[N, hw], what a place's own visibility takes from its correlations; None: nothing."""


def inverse_lengths(maps: Tensor) -> Tensor:
    """Return 1 / length [N, 1, hw] of each place's vector in maps [N, C, hw]."""
    return maps.square().sum(1, keepdim=True).clamp_min(SMALLEST**2).rsqrt()


def penalties(visibility: Tensor) -> Tensor:
    """Return penalties q [N, hw] as above; exactly 0 where a place is as visible as any."""
    best = visibility.amax(-1, keepdim=True).clamp_min(SMALLEST)
    return RANGE_OF_COSINES * (1 - visibility / best)


def weighted_side(
    maps: Tensor, visibility: Tensor | None, weighting: Weighting, product: torch.dtype, *, gallery: bool = False
) -> WeightedSide:
    """Return rows whose products are the weighted correlations.

    Args:
        maps: [N, C, hw], any length.
        visibility: [N, hw] in [0, 1]; None: all visible.
        weighting: the rule.
        product: type that the rows will be multiplied in.
        gallery: the side is the gallery: its penalty stands where the probe has a 1, and the other way round.
    """
    if weighting != "evidence":
        rows = _UnitRows.apply(maps, maps.new_empty((len(maps), maps.shape[2], 0)))
        return WeightedSide(rows if visibility is None else rows * visibility[..., None], None)
    # Zeros where all is visible, not rows without the two columns: the same arithmetic gives the same last digit.
    own = maps.new_zeros((len(maps), maps.shape[2])) if visibility is None else penalties(visibility)
    # As the product will round it, so that what is given back is what was taken.
    own = own.to(product).to(maps.dtype)
    columns = [torch.ones_like(own), -own] if gallery else [-own, torch.ones_like(own)]
    return WeightedSide(_UnitRows.apply(maps, torch.stack(columns, -1)), own)


class _UnitRows(torch.autograd.Function):
    """[N, hw, C + X]: each place's vector of unit length, then its X columns.

    The backward pass needs the rows, which are kept for the correlations anyway, and no other copy of the maps.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, columns: Tensor) -> Tensor:
        inverse = inverse_lengths(maps).transpose(1, 2)
        rows = maps.new_empty((len(maps), maps.shape[2], maps.shape[1] + columns.shape[2]))
        torch.mul(maps.transpose(1, 2), inverse, out=rows[..., : maps.shape[1]])
        rows[..., maps.shape[1] :] = columns
        ctx.save_for_backward(rows, inverse)
        ctx.channels = maps.shape[1]
        return rows

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None]:
        rows, inverse = ctx.saved_tensors
        of_columns = gradients[0][..., ctx.channels :] if ctx.needs_input_grad[1] else None
        unit, gradient = rows[..., : ctx.channels], gradients[0][..., : ctx.channels]
        along = (gradient * unit).sum(-1, keepdim=True)
        return torch.addcmul(gradient, unit, along, value=-1).mul_(inverse).transpose(1, 2), of_columns


def evidence(probe: Tensor, gallery: Tensor) -> Tensor:
    """Return evidence ê [..., hw, K] from visibilities that broadcast to this shape; exactly 1 where all is visible."""
    both = probe * gallery
    share = both.mean(-2, keepdim=True)
    return both / (share + LEAST_EVIDENCE * (1 - share))


def normalisation(bn: nn.BatchNorm1d, one: Tensor, other: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scale and shift by which a batch normalisation of one channel maps both directions' maxima.

    In training the statistics, and what the running ones move by, count each maximum by its `weight`, so that what
    is occluded does not move them.
    """
    assert bn.running_mean is not None
    assert bn.running_var is not None
    mean, variance = bn.running_mean, bn.running_var
    if bn.training:
        mean, variance, count = _statistics(one, other, weight)
        move_running_statistics(bn, mean, variance * count / (count - 1).clamp_min(1))
    scale = bn.weight * (variance + bn.eps).rsqrt()
    return scale, bn.bias - mean * scale


@torch.no_grad()
def move_running_statistics(bn: nn.BatchNorm1d, mean: Tensor, unbiased_variance: Tensor) -> None:
    """Move the running statistics as a batch normalisation does in training."""
    assert bn.running_mean is not None
    assert bn.running_var is not None
    assert bn.num_batches_tracked is not None
    assert bn.momentum is not None
    bn.num_batches_tracked += 1
    for running, new in ((bn.running_mean, mean), (bn.running_var, unbiased_variance)):
        running.lerp_(new.to(running.dtype).view_as(running), bn.momentum)


def _statistics(one: Tensor, other: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and count of both directions' maxima, differentiable in the weight too where that learns."""
    if weight is None or not weight.requires_grad:
        found: tuple[Tensor, Tensor, Tensor] = _Statistics.apply(one, other, weight)
        return found
    weight = weight.expand_as(one)
    count = 2 * weight.sum()
    mean = ((one + other) * weight).sum() / count.clamp_min(1)
    variance = (((one - mean).square() + (other - mean).square()) * weight).sum() / count.clamp_min(1)
    return mean, variance, count


class _Statistics(torch.autograd.Function):
    """Mean, variance and count of both directions' maxima, each counted by its weight.

    The backward pass needs the maxima alone, not their differences from the mean, squares and weighted forms too.
    """

    @staticmethod
    def forward(ctx: Any, one: Tensor, other: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        count = 2 * (one.new_full((), one.numel()) if weight is None else weight.expand_as(one).sum())
        total = _weighted_sum_(one + other, weight)
        mean = total / count.clamp_min(1)
        squares = (one - mean).square_().add_((other - mean).square_())
        variance = _weighted_sum_(squares, weight) / count.clamp_min(1)
        ctx.save_for_backward(one, other, weight, mean, count, total - mean * count)
        return mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        one, other, weight, mean, count, left = ctx.saved_tensors
        by_variance = 2 * gradients[1] / count.clamp_min(1)
        # What is left of the sum of differences is 0 but for counts below 1.
        by_mean = (gradients[0] - by_variance * left) / count.clamp_min(1)
        changes = [(x - mean).mul_(by_variance).add_(by_mean) for x in (one, other)]
        if weight is not None:
            changes = [change.mul_(weight) for change in changes]
        return changes[0], changes[1], None


def _weighted_sum_(x: Tensor, weight: Tensor | None) -> Tensor:
    """Sum of x·weight; x is used up."""
    return (x if weight is None else x.mul_(weight)).sum()


def pair_evidence(weighting: Weighting, maxima: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor | None:
    """Return evidence ê from the visibilities v of the probe and u of the gallery, or None if all places count
    alike."""
    if weighting != "evidence" or (v is None and u is None):
        return None
    one = maxima.new_ones(())
    return evidence(one if v is None else v, one if u is None else u)


def part(x: Tensor | None, rows: slice) -> Tensor | None:
    """Return `x[rows]`, or None if x is None."""
    return None if x is None else x[rows]


def of_probes(x: Tensor | None) -> Tensor | None:
    """Reshape [P, hw] to [1, P, hw, 1], the same for all gallery maps; None stays None."""
    return None if x is None else x[None, :, :, None]


def of_maps(x: Tensor | None) -> Tensor | None:
    """Reshape [G, hw] to [1, 1, hw, G], the same for all probes; None stays None."""
    return None if x is None else x.T[None, None]


def of_groups(x: Tensor | None) -> Tensor | None:
    """Reshape [N, hw] to [N, 1, hw, 1], one per group; None stays None."""
    return None if x is None else x[:, None, :, None]
