"""Curves and figures of very many impostor scores: the highest one by one, the others counted in bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oaml_core.evaluation.statistics.roc import Roc

Scores32 = NDArray[np.float32]

BIN_BITS = 20
"""Leading bits of an ordered float32 that name its bin: 2^20 bins, 1/2048 of a score wide at most."""


@dataclass(frozen=True)
class Bounded:
    """A figure and how far at most the truth is from it."""

    value: float
    error: float


def empty_bins() -> NDArray[np.int64]:
    """Return counts for every bin."""
    return np.zeros(1 << BIN_BITS, dtype=np.int64)


def bin_of(values: Scores32) -> NDArray[np.uint32]:
    """Return the bin of each value, in the order of the values: a float's bits are its order, but for the sign."""
    bits = values.view(np.uint32)
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return ordered >> np.uint32(32 - BIN_BITS)


def lower_edge(bins: NDArray[np.intp]) -> Scores32:
    """Return the smallest value of each bin."""
    ordered = bins.astype(np.uint32) << np.uint32(32 - BIN_BITS)
    bits = np.where(ordered >> 31, ordered & np.uint32((1 << 31) - 1), ~ordered)
    return bits.astype(np.uint32).view(np.float32)


def tail_curve(genuine: Scores32, tail: Scores32, impostors: int) -> Roc:
    """Return every point that the kept impostor scores, descending, make certain.

    With k impostors accepted the threshold can fall to just above the next one, so that point k counts the genuine
    pairs above it. The last kept score is only a next one: what lies beyond it is not known.
    """
    ends = np.flatnonzero(np.append(np.diff(tail) != 0, True))
    following, accepted = tail[ends], np.concatenate([[0], ends[:-1] + 1])
    above = np.searchsorted(-genuine, -following, side="left")
    thresholds = np.nextafter(following, np.float32(np.inf)).astype(np.float64)
    if tail.size == impostors:
        accepted, above = np.append(accepted, impostors), np.append(above, genuine.size)
        thresholds = np.append(thresholds, min(tail[-1], genuine[-1]))
    return Roc(accepted / impostors, above / genuine.size, thresholds, genuine.size, impostors)


def binned_curve(genuine: Scores32, counts: NDArray[np.int64], impostors: int) -> Roc:
    """Return the ROC at both edges of every bin that holds impostors: those points are measured too."""
    bins = np.flatnonzero(counts)[::-1]
    upto = np.cumsum(counts[bins])
    edges = np.stack([lower_edge(bins + 1), lower_edge(bins)], axis=1).ravel()
    accepted = np.stack([upto - counts[bins], upto], axis=1).ravel()
    at_or_above = np.searchsorted(-genuine, -edges, side="right")
    return Roc(
        np.concatenate([[0.0], accepted / impostors, [1.0]]),
        np.concatenate([[0.0], at_or_above / genuine.size, [1.0]]),
        np.concatenate(
            [[np.nextafter(max(edges[0], genuine[0]), np.float32(np.inf))], edges, [min(edges[-1], genuine[-1])]]
        ).astype(np.float64),
        genuine.size,
        impostors,
    )


def joined(tail: Roc, binned: Roc) -> Roc:
    """Return the exact points as far as they go, then those of the bins."""
    beyond = binned.far > tail.far[-1]
    return Roc(
        np.concatenate([tail.far, binned.far[beyond]]),
        np.concatenate([tail.tar, binned.tar[beyond]]),
        np.concatenate([tail.threshold, binned.threshold[beyond]]),
        tail.genuine,
        tail.impostors,
    )


def auc(genuine: Scores32, counts: NDArray[np.int64], impostors: int) -> Bounded:
    """Return the share of wins of genuine over impostor pairs.

    Within a bin half of them are counted, which is off by half at most.
    """
    of_genuine = np.bincount(bin_of(genuine), minlength=counts.size)
    below = np.cumsum(counts) - counts
    total = float(genuine.size) * impostors
    tied = float(of_genuine @ counts)
    return Bounded(float((of_genuine @ below + 0.5 * tied) / total), 0.5 * tied / total)


def eer(curve: Roc) -> Bounded:
    """Return the equal error rate.

    Between two measured points FAR only grows and FRR only falls: all four rates bound their crossing.
    """
    frr = 1 - curve.tar
    after = int(np.argmax(curve.far >= frr))
    low = max(curve.far[after - 1], frr[after])
    high = min(curve.far[after], frr[after - 1])
    return Bounded(float((low + high) / 2), float((high - low) / 2))


def histogram(genuine: Scores32, bins: NDArray[np.int64], count: int = 80) -> dict[str, list[float]]:
    """Return counts over `count` equal intervals; an impostor counts where its bin begins."""
    used = np.flatnonzero(bins)
    values = lower_edge(used)
    low, high = min(values[0], genuine.min()), max(values[-1], genuine.max())
    edges = np.linspace(low, high if high > low else low + 1, count + 1)
    return {
        "edges": edges.tolist(),
        "genuine": np.histogram(genuine, edges)[0].tolist(),
        "impostor": np.histogram(values, edges, weights=bins[used])[0].astype(int).tolist(),
    }
