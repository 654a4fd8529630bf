"""The largest correlation of every place with any place of the other map, in both directions.

Maps come as rows, one unit vector a place, in B groups: probes [B, A, S, C] and gallery maps [B, R, K, C], place
before map. Each of a group's A probes meets each of its K gallery maps:

    c[b, a, s, r, k] = Σ_c probe[b, a, s, c] · gallery[b, r, k, c]

One group of all maps is a score matrix, N groups of one probe and one gallery map are N pairs, N groups of one probe
and K gallery maps are N probes with candidates of their own. With the gallery map as the last axis both maxima run
over an outer axis, where a processor takes a whole vector of maps at a time.

On a GPU one kernel does all of it (`correlation_kernels`). Elsewhere, and for priors, there are blocks of correlations.
Only the maxima and where they are outlive a block: O(B·A·K·2hw) instead of O(B·A·K·hw²).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from oaml_core.models.correlation_fused import fused_maxima, serves

CPU_BLOCK_BYTES = 4 * 2**20
"""Budget for the correlations of one block on a CPU: they are reduced before they leave its caches."""
GPU_BLOCK_BYTES = 512 * 2**20
"""The same on a GPU, where large matrix products count."""


class CorrelationBlock(NamedTuple):
    """The correlations that are held at a time."""

    groups: slice
    probes: slice


class BlockSize(NamedTuple):
    """Shape of a block: its correlations fit the budget."""

    probes: int
    maps: int
    """Gallery maps of each group."""

    @classmethod
    def within(cls, budget: int, maps: int, bytes_a_pair: int) -> BlockSize:
        """Return the largest block of at most `budget` bytes (of one pair, if that alone is more), nearly square."""
        pairs = max(1, budget // bytes_a_pair)
        most = min(pairs, _whole_vectors(2 * math.isqrt(pairs)))
        parts = max(1, math.ceil(maps / most))
        maps = max(1, min(most, _whole_vectors(math.ceil(maps / parts))))
        return cls(max(1, pairs // maps), maps)

    def blocks(self, groups: int, probes: int) -> Iterator[CorrelationBlock]:
        """Yield blocks: whole groups together, or parts of one group's probes."""
        if self.probes >= probes:
            step = self.probes // max(1, probes)
            yield from (CorrelationBlock(some, slice(None)) for some in slices(groups, step))
            return
        for group in slices(groups, 1):
            yield from (CorrelationBlock(group, some) for some in slices(probes, self.probes))


def _whole_vectors(maps: int) -> int:
    """So many maps or a few more that reductions leave no half-filled vector register."""
    return maps if maps < 16 else math.ceil(maps / 16) * 16


def slices(count: int, step: int) -> list[slice]:
    """Divide `range(count)` into slices of `step`; the last may be shorter."""
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def block_bytes(device: torch.device) -> int:
    """Budget for the correlations of one block on this device."""
    return CPU_BLOCK_BYTES if device.type == "cpu" else GPU_BLOCK_BYTES


def correlate(probe: Tensor, gallery: Tensor, places: int) -> Tensor:
    """Return correlations c [b, a, S, R, k] of one block: one matrix product per group, in the gallery rows' type.

    Args:
        probe: rows [b, a, S, C].
        gallery: rows [b, R·k, C].
        places: R.
    """
    b, a, s = probe.shape[:3]
    left = probe.flatten(1, 2).to(gallery.dtype)
    c = torch.mm(left[0], gallery[0].T)[None] if b == 1 else torch.bmm(left, gallery.transpose(1, 2))
    return at_least_float32(c.view(b, a, s, places, gallery.shape[1] // places))


def at_least_float32(x: Tensor) -> Tensor:
    """Return `x` in float32 if it is in half precision.

    Half precision is too coarse for sums over places and for the batch normalisation of scores.
    """
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class PlacePrior(NamedTuple):
    """What is known of places before their vectors are compared; the maxima are those of

    exp(log_affinity[s, r]) · c[b, a, s, r, k] − penalty of the place that is chosen
    """

    log_affinity: Tensor
    """[S, R], differentiable."""
    probe_penalty: Tensor | None
    """[B, A, S, 1], taken where probe places are chosen."""
    gallery_penalty: Tensor | None
    """[B, 1, R, K], taken where gallery places are chosen."""


def correlation_maxima(
    probe: Tensor,
    gallery: Tensor,
    candidates: Tensor | None = None,
    product: torch.dtype | None = None,
    prior: PlacePrior | None = None,
) -> tuple[Tensor, Tensor]:
    """Return both directions' maxima, differentiable; the backward pass uses the places of the maxima and no
    correlation.

    Args:
        probe: rows [B, A, S, C], float32 or float64.
        gallery: rows [B, R, K, C]; with `candidates` [1, R, G, C], which then get no gradient.
        candidates: int64 [B, K]: group b meets these of the G gallery maps. They are gathered by the block.
        product: type of the factors of all matrix products; None: that of the rows. With bfloat16 a correlation of
            unit rows is off by at most 3·2⁻⁹ = 0.006 (its two factors and the result are each rounded to 8 bits).
        prior: changes each correlation before the maxima; none with penalties of gallery places and `candidates`.

    Returns:
        max over r: [B, A, S, K], and max over s: [B, A, R, K], in the type of the rows.
    """
    maps = gallery.shape[2] if candidates is None else candidates.shape[1]
    if prior is None and serves(probe, gallery, maps, product or probe.dtype):
        return fused_maxima(probe, gallery, candidates, product or probe.dtype)
    log_affinity, *penalties = prior or (None, None, None)
    over_gallery, over_probe = _CorrelationMaxima.apply(
        probe, gallery, log_affinity, candidates, product or probe.dtype, *penalties
    )
    return over_gallery, over_probe


class _CorrelationMaxima(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        probe: Tensor,
        gallery: Tensor,
        log_affinity: Tensor | None,
        candidates: Tensor | None,
        product: torch.dtype,
        probe_penalty: Tensor | None,
        gallery_penalty: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        (b, a, s), r = probe.shape[:3], gallery.shape[1]
        k = gallery.shape[2] if candidates is None else candidates.shape[1]
        over_gallery, over_probe = probe.new_empty((b, a, s, k)), probe.new_empty((b, a, r, k))
        index = torch.uint8 if max(s, r) <= 256 else torch.int16
        best_gallery, best_probe = (torch.empty_like(maxima, dtype=index) for maxima in (over_gallery, over_probe))
        affinity = None if log_affinity is None else log_affinity.exp()[:, :, None]
        for groups, probes, maps, part in _blocks(probe, gallery, candidates, product):
            c = correlate(probe[groups, probes], part, r)
            c = c if affinity is None else c.mul_(affinity)
            here = (groups, probes, slice(None), maps)
            taken = None if gallery_penalty is None else gallery_penalty[groups, :, None, :, maps]
            over_gallery[here], best_gallery[here] = largest(c, 3, taken)
            taken = None if probe_penalty is None else probe_penalty[groups, probes, :, None]
            over_probe[here], best_probe[here] = largest(c, 2, taken)
        # Only an affinity's gradient needs to know how large the maxima are.
        learnt = [] if log_affinity is None else [log_affinity, over_gallery, over_probe]
        ctx.save_for_backward(probe, gallery, candidates, best_gallery, best_probe, *learnt)
        ctx.product, ctx.penalties = product, (gallery_penalty, probe_penalty)
        return over_gallery, over_probe

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return a maximum's gradient goes to the two rows whose product it is."""
        probe, gallery, candidates, best_gallery, best_probe, *learnt = ctx.saved_tensors
        affinity = learnt[0].exp() if learnt else None
        to_probe = torch.zeros_like(probe)
        to_gallery = torch.zeros_like(gallery) if candidates is None and ctx.needs_input_grad[1] else None
        for groups, probes, maps, part in _blocks(probe, gallery, candidates, ctx.product):
            here = (groups, probes, slice(None), maps)
            of_c = spread([g[here] for g in gradients], best_gallery[here], best_probe[here], affinity)
            of_c = of_c.to(ctx.product)
            rows = probe[groups, probes]
            to_probe[groups, probes] += (of_c @ part).view_as(rows)
            if to_gallery is not None:
                down = of_c.transpose(1, 2) @ rows.flatten(1, 2).to(ctx.product)  # [b, R·k, C]
                to_gallery[groups, :, maps] += down.view(len(down), gallery.shape[1], -1, down.shape[-1])
        to_affinity = None
        if learnt and ctx.needs_input_grad[2]:
            to_affinity = _to_log_affinity(gradients, (best_gallery, best_probe), learnt[1:], ctx.penalties)
        return to_probe, to_gallery, to_affinity, None, None, None, None


def _to_log_affinity(
    gradients: Sequence[Tensor], places: Sequence[Tensor], maxima: Sequence[Tensor], penalties: Sequence[Tensor | None]
) -> Tensor:
    """[S, R]: a correlation changes by itself, as it was before its penalty, times the change of its log affinity."""
    s, r = places[0].shape[2], places[1].shape[2]
    total = maxima[0].new_zeros(s * r)
    # 0: probe place s and the r chosen for it; 1: gallery place r and its s.
    for (own, other), gradient, best, largest, penalty in zip(
        ((r, 1), (1, r)), gradients, places, maxima, penalties, strict=True
    ):
        start = own * torch.arange(best.shape[2], device=best.device)[:, None]
        for group in range(len(best)):  # one after the other, for the int64 places need room
            chosen, found = largest[group], best[group].long()
            if penalty is not None:
                chosen = chosen + penalty[group].expand(len(found), -1, found.shape[2]).gather(1, found)
            total.index_add_(0, (start + other * found).flatten(), (gradient[group] * chosen).flatten())
    return total.view(s, r)


def _blocks(
    probe: Tensor, gallery: Tensor, candidates: Tensor | None, product: torch.dtype
) -> Iterator[tuple[slice, slice, slice, Tensor]]:
    """(groups, probes, gallery maps) of each block, and the rows [b, R·k, C] of these maps."""
    r, k = gallery.shape[1], gallery.shape[2] if candidates is None else candidates.shape[1]
    size = BlockSize.within(block_bytes(probe.device), k, probe.shape[2] * r * max(4, probe.element_size()))
    for maps in slices(k, size.maps):
        shared = None if candidates is not None else gallery[:, :, maps].flatten(1, 2).to(product)
        for groups, probes in size.blocks(len(probe), probe.shape[1]):
            if shared is not None:
                yield groups, probes, maps, shared[groups]
            elif candidates is not None:
                own = gallery[0][:, candidates[groups, maps]].transpose(0, 1)  # [b, R, k, C]
                yield groups, probes, maps, own.flatten(1, 2).to(product)


def largest(c: Tensor, axis: int, penalty: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Maximum of c − penalty and its place along `axis`."""
    if penalty is not None:
        c = c - penalty
    if c.device.type != "cpu":
        found = c.max(axis)
        return found.values, found.indices
    # Four passes that run in vector registers take a quarter of the time of one `max` with indices.
    largest = c.amax(axis, keepdim=True)
    places = torch.arange(c.shape[axis], dtype=c.dtype).view([-1 if i == axis else 1 for i in range(c.ndim)])
    is_largest = torch.eq(c, largest, out=torch.empty_like(c))
    return largest.squeeze(axis), is_largest.mul_(places).amax(axis)


def spread(gradients: list[Tensor], best_gallery: Tensor, best_probe: Tensor, affinity: Tensor | None = None) -> Tensor:
    """Gradient [b, a·S, R·k] of a block's correlations from those of its maxima."""
    (b, a, s, k), r = best_gallery.shape, best_probe.shape[2]
    of_c = gradients[0].new_zeros((b, a, s, r, k))
    of_c.scatter_(3, best_gallery.long()[:, :, :, None], gradients[0][:, :, :, None])
    of_c.scatter_add_(2, best_probe.long()[:, :, None], gradients[1][:, :, None])
    if affinity is not None:
        of_c.mul_(affinity[:, :, None])
    return of_c.view(b, a * s, r * k)
