"""1:N identification: who of a gallery a probe shows, and whether it shows anybody of it.

Every probe is searched twice. Once as it is: the rank of its own identity. And once with its own identity taken out of
the gallery, as somebody who is not enrolled: the best score is then a false positive, if it passes the threshold.
Terms and rates are those of ISO/IEC 19795-1 and of NIST's FRTE 1:N. An identity scores as its best image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oaml_core.errors import EvaluationError
from oaml_core.evaluation.all_pairs import BlockScores

BLOCK_BYTES = 64 * 2**20
"""Budget for the scores of the probes that are searched at a time."""


@dataclass(frozen=True)
class FnirAtFpir:
    """Misses at one rate of false alarms, or the statement that the searches are too few to measure it."""

    fpir: float
    """Asked for: share of searches for people who are not enrolled that return somebody."""
    fnir: float | None
    """Share of searches for enrolled people that do not return them at rank 1 above the threshold; None: not
    measurable."""
    threshold: float | None
    """A score at or above it is returned."""
    smallest_fpir: float
    """1 / searches for people who are not enrolled."""


@dataclass(frozen=True)
class Identification:
    """What a search of all probes found."""

    probes: int
    """Probes whose identity is enrolled."""
    strangers: int
    """Searches for identities that are not enrolled: all probes, each without its own identity in the gallery."""
    gallery: int
    """Enrolled identities."""
    rank: dict[int, float]
    """Share of the probes whose identity is among the first k; with tied scores the others come first."""
    fnir_at_fpir: list[FnirAtFpir]


def enrol_first(identities: NDArray[np.integer]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Images of the gallery and of the probes: the first image of every identity is enrolled, all others are probes.

    Raises:
        EvaluationError: no identity has a second image, or there is only one identity.
    """
    _, gallery = np.unique(identities, return_index=True)
    probes = np.setdiff1d(np.arange(len(identities)), gallery)
    if not probes.size or gallery.size < 2:
        raise EvaluationError(
            f"{len(identities)} images of {gallery.size} identities allow no search: at least two identities, one of "
            "them with a second image, are needed."
        )
    return np.sort(gallery), probes


def identify(
    scores: BlockScores,
    probes: NDArray[np.integer],
    gallery: NDArray[np.integer],
    ranks: Sequence[int] = (1, 5),
    fpirs: Sequence[float] = (1e-1, 1e-2),
) -> Identification:
    """Search every probe in the gallery.

    Args:
        scores: (probe numbers, gallery numbers) to their scores; called with blocks of probes and the whole gallery.
        probes: [P], identity of each probe; it need not be enrolled.
        gallery: [G], identity of each enrolled image.
        ranks: k of the rank-k rates.
        fpirs: false positive identification rates, in (0, 1].

    Raises:
        EvaluationError: no probe's identity is enrolled, or a score is not finite.
    """
    enrolled, owner = np.unique(gallery, return_inverse=True)
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(len(enrolled)))
    own = np.searchsorted(enrolled, probes).clip(max=len(enrolled) - 1)
    is_enrolled = enrolled[own] == probes
    if not is_enrolled.any() or len(enrolled) < 2:
        raise EvaluationError(
            "No probe shows anybody of the gallery, or the gallery holds one identity; there is nothing to identify."
        )
    own_score = np.full(len(probes), -np.inf)
    best_other = np.empty(len(probes))
    before = np.empty(len(probes), dtype=np.int64)
    step = max(1, BLOCK_BYTES // (4 * len(gallery)))
    for start in range(0, len(probes), step):
        rows = slice(start, min(start + step, len(probes)))
        block = np.asarray(scores(rows, slice(0, len(gallery))), dtype=np.float32)
        if not np.isfinite(block).all():
            raise EvaluationError("A score of probe and gallery is NaN or infinite: evaluate an earlier checkpoint.")
        people = np.maximum.reduceat(block[:, order], starts, axis=1)
        mine = np.flatnonzero(is_enrolled[rows])
        own_score[rows][mine] = people[mine, own[rows][mine]]
        people[mine, own[rows][mine]] = -np.inf
        best_other[rows] = people.max(1)
        before[rows] = (people >= own_score[rows, None]).sum(1)
    mated = own_score[is_enrolled]
    rank = before[is_enrolled]
    return Identification(
        probes=int(is_enrolled.sum()),
        strangers=len(probes),
        gallery=len(enrolled),
        rank={k: float((rank < k).mean()) for k in ranks},
        fnir_at_fpir=[_fnir(mated, rank, best_other, fpir) for fpir in fpirs],
    )


def _fnir(
    mated: NDArray[np.float64], rank: NDArray[np.int64], strangers: NDArray[np.float64], fpir: float
) -> FnirAtFpir:
    allowed = int(fpir * strangers.size + 1e-6)
    smallest = 1 / strangers.size
    if allowed < 1:
        return FnirAtFpir(fpir, None, None, smallest)
    descending = np.sort(strangers)[::-1]
    # The loosest threshold that lets in no more strangers than allowed lies just above the next one.
    just_above = np.nextafter(descending.astype(np.float32), np.float32(np.inf))
    threshold = just_above[allowed] if allowed < strangers.size else descending[-1]
    missed = (rank > 0) | (mated < threshold)
    return FnirAtFpir(fpir, float(missed.mean()), float(threshold), smallest)
