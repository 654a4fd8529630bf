"""Largest correlations of both directions in one kernel, for GPUs: no block of correlations is ever written.

What `oaml_core.models.correlation` describes, for rows whose product is the correlation: visibility's weights and
penalties are part of the rows (see `correlation_weighting`). A program of the forward kernel owns a few probe and a few
gallery maps. It multiplies their places on tensor cores, sums in float32, and reduces the tile in registers: 10 bytes
per pair and place leave it instead of 4·hw. Whole maps are packed into a tile, five of 7 × 7 places into 256 columns,
and C is walked in steps; nothing is padded in memory. The backward kernel owns places of one map and passes over all
its partners: the places of the maxima, as a matrix of ones and zeros times the gradients, pick the partners' rows on
the same tensor cores. No two programs write to the same place, so that a gradient is the same at every run.

The tiles are those that late-interaction kernels were seen to gain by; `triton.autotune` chooses among them at the
first call of a shape. With TRITON_INTERPRET=1 in the environment before triton is imported, all of it runs on a CPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
LEAST = tl.constexpr(-3.0e38)
"""Number below every correlation."""
TILES = ((128, 128, 64, 4, 3), (128, 256, 64, 8, 3), (256, 128, 64, 8, 3), (64, 256, 64, 4, 3), (256, 256, 32, 16, 2))
"""Probe places, gallery places, channels per step, warps and stages that are tried."""
PASSES = ((64, 64, 128, 4, 2), (64, 64, 64, 4, 3), (64, 64, 256, 8, 2), (128, 64, 64, 4, 2))
"""Own places, partner places, channels, warps and stages of the backward kernel that are tried."""


def _configs(shapes: tuple[tuple[int, ...], ...], names: tuple[str, str, str]) -> list[Any]:
    return [
        triton.Config(dict(zip(names, shape[:3], strict=True)), num_warps=shape[3], num_stages=shape[4])
        for shape in shapes
    ]


def _fits(configs: list[Any], arguments: dict[str, Any], **settings: Any) -> list[Any]:
    """Tiles that hold at least one whole map of each side; the smallest that do, if none of the list does."""
    s, r = settings["S"], settings["R"]
    fitting = [one for one in configs if one.kwargs["ROWS"] >= s and one.kwargs["COLUMNS"] >= r]
    if fitting:
        return fitting
    sides = {"ROWS": triton.next_power_of_2(s), "COLUMNS": triton.next_power_of_2(r), "STEP": 32}
    return [triton.Config(sides, num_warps=8, num_stages=2)]


MAXIMA = _configs(TILES, ("ROWS", "COLUMNS", "STEP"))
GATHER = _configs(PASSES, ("OWN", "OTHER", "STEP"))


def _tuned(configs: list[Any], **options: Any) -> Callable[[Any], Any]:
    """`triton.autotune`; the interpreter has no clock to tune by and is given a tile at each call."""
    return (lambda kernel: kernel) if INTERPRETED else triton.autotune(configs=configs, **options)


@_tuned(MAXIMA, key=["size", "C", "S", "R", "PRECISION"], prune_configs_by={"early_config_prune": _fits})
@triton.jit
def _maxima(  # type: ignore[no-untyped-def]
    probe, gallery, candidates, over_gallery, best_gallery, over_probe, best_probe,
    A, K, C, size, probe_group, gallery_group, gallery_place, gallery_map,
    S: tl.constexpr, R: tl.constexpr, CHOSEN: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    PROBES: tl.constexpr = ROWS // S
    MAPS: tl.constexpr = COLUMNS // R
    group = tl.program_id(2).to(tl.int64)
    first_probe, first_map = tl.program_id(1) * PROBES, tl.program_id(0) * MAPS
    row, column = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    a, s = first_probe + row // S, row % S
    k, r = first_map + column // R, column % R
    there = (row < PROBES * S) & (a < A)
    meets = (column < MAPS * R) & (k < K)
    number = k
    if CHOSEN:
        number = tl.load(candidates + group * K + k, mask=meets, other=0)
    left = probe + group * probe_group + (a.to(tl.int64) * S + s) * C
    right = gallery + group * gallery_group + r.to(tl.int64) * gallery_place + number.to(tl.int64) * gallery_map
    c = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for start in range(0, C, STEP):
        channel = start + tl.arange(0, STEP)
        inside = channel < C
        p = tl.load(left[:, None] + channel[None, :], mask=there[:, None] & inside[None, :], other=0.0)
        g = tl.load(right[None, :] + channel[:, None], mask=meets[None, :] & inside[:, None], other=0.0)
        c = tl.dot(p, g, c, input_precision=PRECISION)
    valid = there[:, None] & meets[None, :]
    # A NaN must come out as one, which a comparison alone would lose.
    lost_row = tl.sum(tl.where(valid, c, 0.0) * 0.0, 1)
    lost_column = tl.sum(tl.where(valid, c, 0.0) * 0.0, 0)
    # The places are added as zeros below so that a mask has the shape of what it masks.
    for one in tl.static_range(MAPS):
        its = meets & (column // R == one)
        largest, place = tl.max(tl.where(its[None, :], c, LEAST), 1, return_indices=True)
        where = ((group * A + a) * S + s) * K + first_map + one
        kept = there & (first_map + one + row * 0 < K)
        tl.store(over_gallery + where, largest + lost_row, mask=kept)
        tl.store(best_gallery + where, place - one * R, mask=kept)
    for one in tl.static_range(PROBES):
        its = there & (row // S == one)
        largest, place = tl.max(tl.where(its[:, None], c, LEAST), 0, return_indices=True)
        where = ((group * A + first_probe + one) * R + r) * K + k
        kept = meets & (first_probe + one + column * 0 < A)
        tl.store(over_probe + where, largest + lost_column, mask=kept)
        tl.store(best_probe + where, place - one * S, mask=kept)


@_tuned(GATHER, key=["size", "C", "OWN_PLACES", "OTHER_PLACES", "PRECISION"])
@triton.jit
def _gather(  # type: ignore[no-untyped-def]
    rows, candidates, own_gradient, own_best, other_gradient, other_best, out,
    N, M, C, size, rows_group, rows_place, rows_map, out_group, out_place, out_map,
    own_group, own_place, own_own, own_other, other_group, other_place, other_own, other_other,
    OWN_PLACES: tl.constexpr, OTHER_PLACES: tl.constexpr, CHOSEN: tl.constexpr, PRECISION: tl.constexpr,
    OWN: tl.constexpr, OTHER: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    group, mine = (tl.program_id(2) // N).to(tl.int64), (tl.program_id(2) % N).to(tl.int64)
    own = tl.program_id(1) * OWN + tl.arange(0, OWN)
    channel = tl.program_id(0) * STEP + tl.arange(0, STEP)
    valid, inside = own < OWN_PLACES, channel < C
    total = tl.zeros((OWN, STEP), dtype=tl.float32)
    for partner in range(M):
        number = tl.full((), partner, tl.int64)
        if CHOSEN:
            number = tl.load(candidates + group * M + partner).to(tl.int64)
        at = group * own_group + mine * own_own + own * own_place + partner * own_other
        gradient = tl.load(own_gradient + at, mask=valid, other=0.0)
        best = tl.load(own_best + at, mask=valid, other=0).to(tl.int32)
        for start in range(0, OTHER_PLACES, OTHER):
            other = start + tl.arange(0, OTHER)
            theirs = other < OTHER_PLACES
            at_other = group * other_group + mine * other_own + other * other_place + partner * other_other
            back = tl.load(other_gradient + at_other, mask=theirs, other=0.0)
            chosen = tl.load(other_best + at_other, mask=theirs, other=-1).to(tl.int32)
            chosen = tl.where(theirs, chosen, -1)
            weight = tl.where(best[:, None] == other[None, :], gradient[:, None], 0.0)
            weight += tl.where(chosen[None, :] == own[:, None], back[None, :], 0.0)
            where = rows + group * rows_group + other[:, None] * rows_place + number * rows_map + channel[None, :]
            vectors = tl.load(where, mask=theirs[:, None] & inside[None, :], other=0.0)
            total = tl.dot(weight.to(vectors.dtype), vectors, total, input_precision=PRECISION)
    at = out + group * out_group + own[:, None] * out_place + mine * out_map + channel[None, :]
    tl.store(at, total, mask=valid[:, None] & inside[None, :])


def largest_correlations(
    probe: Tensor, gallery: Tensor, candidates: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return both directions' maxima and their places, forward only.

    Args:
        probe: rows [B, A, S, C] in the type of the product, float32 or half precision.
        gallery: rows [B, R, K, C] of the same type, or [1, R, G, C] with `candidates`.
        candidates: int64 [B, K] or None.

    Returns:
        float32 max over r [B, A, S, K] and its r; float32 max over s [B, A, R, K] and its s. Places are uint8, or
        int16 for maps of more than 256 places.
    """
    probe, gallery = probe.contiguous(), _with_rows(gallery)
    (b, a, s, channels), r = probe.shape, gallery.shape[1]
    k = gallery.shape[2] if candidates is None else candidates.shape[1]
    index = torch.uint8 if max(s, r) <= 256 else torch.int16
    maxima = [torch.empty((b, a, places, k), dtype=torch.float32, device=probe.device) for places in (s, r)]
    best = [torch.empty_like(one, dtype=index) for one in maxima]

    def grid(tile: dict[str, int]) -> tuple[int, int, int]:
        return triton.cdiv(k, tile["COLUMNS"] // r), triton.cdiv(a, tile["ROWS"] // s), b

    if b and a and k:
        _maxima[grid](
            probe, gallery, _or_any(candidates, probe), maxima[0], best[0], maxima[1], best[1],
            a, k, channels, (b * a * k).bit_length() // 4, probe.stride(0),
            0 if candidates is not None else gallery.stride(0), gallery.stride(1), gallery.stride(2),
            S=s, R=r, CHOSEN=candidates is not None, PRECISION=_precision(probe),
            **(_fits(MAXIMA, {}, S=s, R=r)[0].kwargs if INTERPRETED else {}),
        )  # fmt: skip
    return maxima[0], best[0], maxima[1], best[1]


def gather_to_probe(
    gallery: Tensor, candidates: Tensor | None, gradients: tuple[Tensor, Tensor], best: tuple[Tensor, Tensor]
) -> Tensor:
    """Gradient [B, A, S, C], float32, of the probe rows.

    Args:
        gallery, candidates: as in `largest_correlations`.
        gradients: of the maxima over r [B, A, S, K] and over s [B, A, R, K].
        best: their places.
    """
    gallery = _with_rows(gallery)
    b, a, s, k = best[0].shape
    out = torch.empty((b, a, s, gallery.shape[3]), dtype=torch.float32, device=gallery.device)
    rows = 0 if candidates is not None else gallery.stride(0), gallery.stride(1), gallery.stride(2)
    places = (out.stride(0), out.stride(2), out.stride(1))
    _gathered(gallery, candidates, out, gradients, best, rows, places, (a, k), own_is_probe=True)
    return out


def gather_to_gallery(probe: Tensor, gradients: tuple[Tensor, Tensor], best: tuple[Tensor, Tensor]) -> Tensor:
    """Gradient [B, R, K, C], float32, of the gallery rows; arguments as in `gather_to_probe`."""
    probe = probe.contiguous()
    b, a, r, k = best[1].shape
    out = torch.empty((b, r, k, probe.shape[3]), dtype=torch.float32, device=probe.device)
    rows = probe.stride(0), probe.stride(2), probe.stride(1)
    turned = (gradients[1], gradients[0]), (best[1], best[0])
    _gathered(probe, None, out, *turned, rows, out.stride()[:3], (k, a), own_is_probe=False)
    return out


def _gathered(
    rows: Tensor,
    candidates: Tensor | None,
    out: Tensor,
    gradients: tuple[Tensor, Tensor],
    best: tuple[Tensor, Tensor],
    rows_strides: tuple[int, ...],
    out_strides: tuple[int, ...],
    counts: tuple[int, int],
    *,
    own_is_probe: bool,
) -> None:
    """Fill `out`; gradients and places come with those of the own places first.

    Args:
        counts: own maps and partners of each.
        own_is_probe: the own maps are the second axis of gradients and places, else the last one.
    """
    own, other = (one.contiguous() for one in gradients)
    own_places, other_places = own.shape[2], other.shape[2]
    if not out.numel() or not counts[1]:
        out.zero_()
        return

    def strides(x: Tensor) -> tuple[int, ...]:
        group, probe, place, gallery = x.stride()
        return (group, place, probe, gallery) if own_is_probe else (group, place, gallery, probe)

    def grid(tile: dict[str, int]) -> tuple[int, int, int]:
        return triton.cdiv(out.shape[3], tile["STEP"]), triton.cdiv(own_places, tile["OWN"]), own.shape[0] * counts[0]

    _gather[grid](
        rows, _or_any(candidates, rows), own, best[0], other, best[1], out, *counts, out.shape[3],
        (own.shape[0] * counts[0] * counts[1]).bit_length() // 4,
        *rows_strides, *out_strides, *strides(own), *strides(other),
        OWN_PLACES=own_places, OTHER_PLACES=other_places, CHOSEN=candidates is not None, PRECISION=_precision(rows),
        **(GATHER[0].kwargs if INTERPRETED else {}),
    )  # fmt: skip


def _with_rows(gallery: Tensor) -> Tensor:
    """Return the same with each row's channels one beside the other; maps and places may be turned round."""
    return gallery if gallery.stride(3) == 1 else gallery.contiguous()


def _or_any(candidates: Tensor | None, other: Tensor) -> Tensor:
    """Return a pointer must be given, whether it is read or not."""
    return other if candidates is None else candidates.contiguous()


def _precision(rows: Tensor) -> str:
    return "tf32" if rows.dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32 else "ieee"
