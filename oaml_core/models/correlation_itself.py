"""The largest correlations of a batch with itself: each unordered pair of maps is multiplied once.

With rows x of one side and x′ of the other that differ by the order of the two columns of penalties alone,
c[a, s, r, k] = x[a, s]·x′[k, r] = c[k, r, s, a]: what map a's places find on map k is what is found on the way back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from oaml_core.models.correlation import block_bytes, correlate, largest, slices, spread

WHOLE_VECTORS = 16


class _Block(NamedTuple):
    probes: slice
    maps: slice
    correlations: Tensor
    """[1, a, S, R, k]."""
    gallery: Tensor
    """Rows [1, R·k, C] of the maps."""


def maxima_of_itself(rows: Tensor, *, turned: bool, product: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return both directions' maxima of a batch with itself, differentiable; as `correlation_maxima` of its two sides.

    Args:
        rows: [N, S, C], the probe's side.
        turned: the gallery's side has the last two columns the other way round.
        product: type of the factors.

    Returns:
        max over r: [1, N, S, N], and max over s: [1, N, S, N].
    """
    found: Tensor = _MaximaOfItself.apply(rows, turned, product)
    return found[None], found.transpose(0, 2)[None]


class _MaximaOfItself(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, turned: bool, product: torch.dtype) -> Tensor:
        count, places = rows.shape[:2]
        found = rows.new_empty((count, places, count))
        best = torch.empty_like(found, dtype=torch.uint8 if places <= 256 else torch.int16)
        for block in _blocks(rows, turned, product):
            values, where = largest(block.correlations, 3)
            found[block.probes, :, block.maps], best[block.probes, :, block.maps] = values[0], where[0].to(best.dtype)
            if block.probes != block.maps:
                values, where = largest(block.correlations, 2)
                found[block.maps, :, block.probes] = values[0].permute(2, 1, 0)
                best[block.maps, :, block.probes] = where[0].permute(2, 1, 0).to(best.dtype)
        ctx.save_for_backward(rows, best)
        ctx.turned, ctx.product = turned, product
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        rows, best = ctx.saved_tensors
        gradient, total = gradients[0], torch.zeros_like(rows)
        for block in _blocks(rows, ctx.turned, ctx.product, products=False):
            there = gradient[block.probes, :, block.maps], best[block.probes, :, block.maps]
            back = gradient[block.maps, :, block.probes], best[block.maps, :, block.probes]
            one, other = (x.permute(2, 1, 0) for x in back)
            if block.probes == block.maps:
                one = torch.zeros_like(one)  # both orders of a pair are in the block
            of_c = spread([there[0][None], one[None]], there[1][None], other[None])[0].to(ctx.product)
            left = rows[block.probes]
            total[block.probes] += (of_c @ block.gallery[0]).view_as(left)
            down = of_c.T @ left.flatten(0, 1).to(ctx.product)  # [R·k, C]
            down = down.view(rows.shape[1], -1, rows.shape[2]).transpose(0, 1)
            total[block.maps] += _turned(down, ctx.turned)
        return total, None, None


def _blocks(rows: Tensor, turned: bool, product: torch.dtype, *, products: bool = True) -> Iterator[_Block]:
    """Blocks on and above the diagonal; without correlations if these are not asked for."""
    count, places = rows.shape[:2]
    most = math.isqrt(max(1, block_bytes(rows.device) // (places**2 * max(4, rows.element_size()))))
    parts = slices(count, most if most < WHOLE_VECTORS else most // WHOLE_VECTORS * WHOLE_VECTORS)
    for number, maps in enumerate(parts):
        gallery = _turned(rows[maps], turned).transpose(0, 1).flatten(0, 1)[None].to(product)
        for probes in parts[: number + 1]:
            c = correlate(rows[None, probes], gallery, places) if products else rows.new_empty(0)
            yield _Block(probes, maps, c, gallery)


def _turned(rows: Tensor, turned: bool) -> Tensor:
    """Return the other side's rows."""
    return torch.cat([rows[..., :-2], rows[..., -1:], rows[..., -2:-1]], -1) if turned else rows
