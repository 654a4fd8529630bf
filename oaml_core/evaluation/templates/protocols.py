"""Rates of template pairs and of searches with templates: as published, and exact beside them.

Published 1:1 (InsightFace's `eval_ijbc.py`): TAR at the point of the ROC whose FAR is nearest to the rate asked for.
Published 1:N (`IJB_1N`): all galleries are one; the threshold is the ⌈FPIR · probes⌉-th best of all impostor scores.
Open set, as in ISO/IEC 19795-1 and the IJB papers: each gallery is searched alone, probes of the others are strangers,
and rates are means over the galleries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oaml_core.errors import EvaluationError
from oaml_core.evaluation.statistics.roc import Roc

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
PROBES_AT_ONCE = 1024
RANKS = (1, 5, 10)


@dataclass(frozen=True)
class Search:
    """Rates of a search for all probes in one gallery."""

    rank: dict[int, float]
    """Share of the enrolled probes whose subject is among the first k; of equal scores others come first."""
    tpir: dict[float, float | None]
    """Rates by FPIR; None: too few searches measure it."""
    probes: int
    """Probes whose subject is enrolled."""
    strangers: int
    """Probes, or for the published protocol probes too, that false positives are counted over."""
    gallery: int
    """Enrolled templates."""


@dataclass(frozen=True)
class _Found:
    own: NDArray[np.float64]
    """[P], score of the own template; −∞ where the subject is not enrolled."""
    best_other: NDArray[np.float64]
    before: Ints
    """[P], how many others score at least as well as the own."""
    largest: NDArray[np.float64]
    """Largest impostor scores, descending."""


def nearest_tar(curve: Roc, rates: Sequence[float]) -> list[float]:
    """Return TAR at the point whose FAR is nearest to each rate, as published; of equal ones the highest.

    Points between two others on a straight line do not count, for the published curve leaves them out.

    Args:
        curve: complete ROC.
        rates: false accept rates.
    """
    accepted = np.rint(curve.far[1:] * curve.impostors), np.rint(curve.tar[1:] * curve.genuine)
    kept = np.ones(len(accepted[0]), dtype=bool)
    if len(kept) > 2:
        kept[1:-1] = (np.diff(accepted[0], 2) != 0) | (np.diff(accepted[1], 2) != 0)
    far = np.append(0.0, curve.far[1:][kept])[::-1]
    tar = np.append(0.0, curve.tar[1:][kept])[::-1]
    return [float(tar[int(np.argmin(np.abs(far - rate)))]) for rate in rates]


def search_published(
    probes: Floats, wanted: Ints, gallery: Floats, enrolled: Ints, fpirs: Sequence[float] = (0.01, 0.1)
) -> Search:
    """Search every probe in all galleries together, as published.

    Args:
        probes: [P, E] unit embeddings.
        wanted: [P] subjects, each enrolled once.
        gallery: [G, E] unit embeddings.
        enrolled: [G] subjects.
        fpirs: false positive identification rates.

    Raises:
        EvaluationError: a subject is enrolled twice, or a probe's not at all.
    """
    if len(np.unique(enrolled)) < len(enrolled) or not np.isin(wanted, enrolled).all() or len(enrolled) < 2:
        raise EvaluationError(
            "The published search wants each probe's subject enrolled once, in galleries of two or more; these lists "
            "have it twice or not at all."
        )
    needed = {fpir: math.ceil(len(wanted) * fpir) for fpir in fpirs}
    found = _search(probes, wanted, gallery, enrolled, max(needed.values()))
    tpir: dict[float, float | None] = {}
    for fpir, count in needed.items():
        tpir[fpir] = float((found.own > found.largest[count - 1]).mean()) if count <= len(found.largest) else None
    return Search(_ranks(found.before), tpir, len(wanted), len(wanted), len(enrolled))


def search_open(
    probes: Floats, wanted: Ints, gallery: Floats, enrolled: Ints, fpirs: Sequence[float] = (0.01, 0.1)
) -> Search:
    """Search every probe in one gallery; a hit is the own template, first and at or above the threshold.

    Args:
        probes: [P, E] unit embeddings.
        wanted: [P] subjects; those who are not enrolled are strangers.
        gallery: [G, E] unit embeddings.
        enrolled: [G] subjects.
        fpirs: false positive identification rates.

    Raises:
        EvaluationError: nobody who is enrolled is searched for.
    """
    mated = mated_probes(wanted, enrolled)
    found = _search(probes, wanted, gallery, enrolled, 0)
    strangers = np.sort(found.best_other[~mated])[::-1]
    tpir: dict[float, float | None] = {}
    for fpir in fpirs:
        allowed = int(fpir * len(strangers) + 1e-6)
        if allowed < 1:
            tpir[fpir] = None
            continue
        # Just above the best stranger who must not pass; where all may pass, everybody does.
        bound = strangers[allowed] if allowed < len(strangers) else -np.inf
        tpir[fpir] = float(((found.own > bound) & (found.before == 0))[mated].mean())
    return Search(_ranks(found.before[mated]), tpir, int(mated.sum()), len(strangers), len(enrolled))


def mated_probes(wanted: Ints, enrolled: Ints) -> NDArray[np.bool_]:
    """Return bool [P]: whether the subject of each probe is enrolled.

    Raises:
        EvaluationError: nobody who is enrolled is searched for.
    """
    mated: NDArray[np.bool_] = np.isin(wanted, enrolled)
    if not mated.any():
        raise EvaluationError("No probe shows anybody of the gallery; the lists are of two data sets.")
    return mated


def _ranks(before: Ints) -> dict[int, float]:
    return {k: float((before < k).mean()) for k in RANKS}


def _search(probes: Floats, wanted: Ints, gallery: Floats, enrolled: Ints, largest: int) -> _Found:
    own = np.full(len(probes), -np.inf)
    best_other, before = np.empty(len(probes)), np.empty(len(probes), dtype=np.int64)
    best = np.empty(0)
    for start in range(0, len(probes), PROBES_AT_ONCE):
        rows = slice(start, start + PROBES_AT_ONCE)
        scores = (probes[rows] @ gallery.T).astype(np.float64)
        mine = wanted[rows, None] == enrolled
        own[rows] = np.where(mine, scores, -np.inf).max(1)
        scores[mine] = -np.inf
        best_other[rows] = scores.max(1)
        before[rows] = (scores >= own[rows, None]).sum(1) * mine.any(1)
        if largest:
            best = np.append(best, scores[~mine])
            best = np.partition(best, -largest)[-largest:] if len(best) > largest else best
    return _Found(own, best_other, before, np.sort(best)[::-1])
