"""1:N identification: who of a gallery a probe shows, and whether it shows anybody of it.

Every probe is searched twice. Once as it is: the rank of its own identity. And once with its own identity taken out of
the gallery, as somebody who is not enrolled: the best score is then a false positive, if it passes the threshold.
Terms and rates are those of ISO/IEC 19795-1 and of NIST's FRTE 1:N. An identity scores as its best image.

Intervals resample the people who are searched for. The gallery stays as it is: how many are enrolled decides how hard
a search is, and a gallery drawn with replacement would be a smaller one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.statistics.all_pairs import BlockScores
from oaml_core.evaluation.statistics.bootstrap import CHUNK_BYTES, RESAMPLES, draw_identities, percentiles
from oaml_core.evaluation.statistics.protocols import Bools
from oaml_core.evaluation.statistics.seed import SEED

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
    interval: tuple[float, float] | None = None
    """95 % of `fnir`, over the people who are searched for; the threshold is found anew in every resample."""


@dataclass(frozen=True)
class SearchOutcome:
    """The outcome of searching for all probes."""

    probes: int
    """Probes whose identity is enrolled."""
    strangers: int
    """Searches for identities that are not enrolled: all probes, each without its own identity in the gallery."""
    gallery: int
    """Enrolled identities."""
    rank: dict[int, float]
    """Share of the probes whose identity is among the first k; with tied scores the others come first."""
    rank_interval: dict[int, tuple[float, float]]
    """95 % of each, over the people who are searched for."""
    fnir_at_fpir: list[FnirAtFpir]


def enrol_first(identities: NDArray[np.integer]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return images of the gallery and of the probes: the first image of every identity is enrolled, all others are
    probes.

    Raises:
        EvaluationError: no identity has a second image, or there is only one identity.
    """
    _, gallery = np.unique(identities, return_index=True)
    probes = np.setdiff1d(np.arange(len(identities)), gallery)
    if not probes.size or gallery.size < 2:
        raise EvaluationError(
            f"{amount(len(identities), 'image')} of {gallery.size} identities allow no search: at least two "
            "identities, one of them with a second image, are needed."
        )
    return np.sort(gallery), probes


class Searches(NamedTuple):
    """The outcome of the two searches for each of P probes."""

    own: NDArray[np.float64]
    """[P], score of the probe's own identity; −∞ if it is not enrolled."""
    best_other: NDArray[np.float64]
    """[P], best score of the other identities."""
    before: NDArray[np.int64]
    """[P], how many of these score at least as well as its own."""


def identify(
    scores: BlockScores,
    probes: NDArray[np.integer],
    gallery: NDArray[np.integer],
    ranks: Sequence[int] = (1, 5),
    fpirs: Sequence[float] = (1e-1, 1e-2),
) -> SearchOutcome:
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
    return outcome_of(search(scores, probes, gallery), probes, gallery, ranks, fpirs)


def probes_at_once(gallery: int, unit: int = 1) -> int:
    """Return how many probes are searched for at a time in a gallery of so many images: whole units if any fits."""
    step = max(1, BLOCK_BYTES // (4 * gallery))
    return step - step % unit if step > unit else step


def search(
    scores: BlockScores,
    probes: NDArray[np.integer],
    gallery: NDArray[np.integer],
    rows: slice | None = None,
    unit: int = 1,
) -> Searches:
    """Return the outcome of the searches for some probes.

    Args:
        scores, probes, gallery: as of `identify`.
        rows: numbers of the probes that are searched for; None: all.
        unit: probes that `scores` compares together: blocks of them are whole units, if any fits.

    Raises:
        EvaluationError: as `identify`.
    """
    enrolled, own = _enrolled(probes, gallery)
    is_enrolled = enrolled[own] == probes
    owner = np.unique(gallery, return_inverse=True)[1]
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(len(enrolled)))
    first, last = (0, len(probes)) if rows is None else (rows.start, rows.stop)
    count = max(0, last - first)
    found = Searches(np.full(count, -np.inf), np.empty(count), np.empty(count, dtype=np.int64))
    step = probes_at_once(len(gallery), unit)
    for start in range(first, last, step):
        some = slice(start, min(start + step, last))
        place = slice(some.start - first, some.stop - first)
        block = np.asarray(scores(some, slice(0, len(gallery))), dtype=np.float32)
        if not np.isfinite(block).all():
            raise EvaluationError("A score of probe and gallery is NaN or infinite: evaluate an earlier checkpoint.")
        people = np.maximum.reduceat(block[:, order], starts, axis=1)
        mine = np.flatnonzero(is_enrolled[some])
        found.own[place][mine] = people[mine, own[some][mine]]
        people[mine, own[some][mine]] = -np.inf
        found.best_other[place] = people.max(1)
        found.before[place] = (people >= found.own[place][:, None]).sum(1)
    return found


def outcome_of(
    found: Searches,
    probes: NDArray[np.integer],
    gallery: NDArray[np.integer],
    ranks: Sequence[int] = (1, 5),
    fpirs: Sequence[float] = (1e-1, 1e-2),
) -> SearchOutcome:
    """Return rates and intervals of the searches for all probes; arguments and errors as of `identify`."""
    enrolled, own = _enrolled(probes, gallery)
    is_enrolled = enrolled[own] == probes
    searches = _Searches(probes, is_enrolled, *found)
    return SearchOutcome(
        probes=int(is_enrolled.sum()),
        strangers=len(probes),
        gallery=len(enrolled),
        rank={k: float((found.before[is_enrolled] < k).mean()) for k in ranks},
        rank_interval=searches.rank_intervals(ranks),
        fnir_at_fpir=[searches.fnir(fpir) for fpir in fpirs],
    )


def _enrolled(
    probes: NDArray[np.integer], gallery: NDArray[np.integer]
) -> tuple[NDArray[np.integer], NDArray[np.intp]]:
    """Return the enrolled identities, and for each probe the number of its own among them, if it is enrolled.

    Raises:
        EvaluationError: no probe's identity is.
    """
    enrolled = np.unique(gallery)
    own = np.searchsorted(enrolled, probes).clip(max=len(enrolled) - 1)
    if not (enrolled[own] == probes).any() or len(enrolled) < 2:
        raise EvaluationError(
            "No probe shows anybody of the gallery, or the gallery holds one identity; there is nothing to identify."
        )
    return enrolled, own


class _Searches:
    """The outcome of every probe's two searches, and the same for resampled people.

    Args:
        probes: [P], identity of each probe.
        mated: [P], true if it is enrolled.
        own: [P], score of its own identity; −∞ if it is not enrolled.
        best_other: [P], best score of the other identities.
        before: [P], how many of these score at least as well as its own.
    """

    def __init__(
        self,
        probes: NDArray[np.integer],
        mated: Bools,
        own: NDArray[np.float64],
        best_other: NDArray[np.float64],
        before: NDArray[np.int64],
    ) -> None:
        people, self._person = np.unique(probes, return_inverse=True)
        self._mated, self._before = mated, before
        self._stranger = np.argsort(-best_other, kind="stable")
        descending = best_other[self._stranger]
        # The loosest threshold that lets in no more strangers than allowed lies just above the next one.
        just_above = np.nextafter(descending.astype(np.float32), np.float32(np.inf)).astype(np.float64)
        self._threshold = np.append(just_above, descending[-1])
        hit = np.flatnonzero(mated & (before == 0))
        self._hit = hit[np.argsort(-own[hit], kind="stable")]
        # Hits at or above each of these thresholds.
        self._hits_above = np.searchsorted(-own[self._hit], -self._threshold, side="right")
        self._times = np.empty((RESAMPLES, people.size), dtype=np.float32)
        # The same resamples at every call: differences between scores are those of the scores.
        draw_identities(people.size, np.random.default_rng(SEED), self._times)

    def rank_intervals(self, ranks: Sequence[int]) -> dict[int, tuple[float, float]]:
        """Of the share of the probes whose identity is among the first k."""
        of_person = np.bincount(self._person, weights=self._mated, minlength=self._times.shape[1])
        searched = np.maximum(self._times @ of_person, 1)
        intervals = {}
        for k in ranks:
            among = np.bincount(self._person, weights=self._mated & (self._before < k), minlength=len(of_person))
            intervals[k] = percentiles((self._times @ among) / searched)
        return intervals

    def fnir(self, fpir: float) -> FnirAtFpir:
        """Misses at the loosest threshold whose FPIR does not exceed `fpir`."""
        strangers = self._stranger.size
        allowed = int(fpir * strangers + 1e-6)
        if allowed < 1:
            return FnirAtFpir(fpir, None, None, 1 / strangers)
        missed = 1 - self._hits_above[allowed] / self._mated.sum()
        resampled = np.concatenate([self._resampled(times, fpir) for times in self._chunks()])
        threshold = float(self._threshold[allowed])
        return FnirAtFpir(fpir, float(missed), threshold, 1 / strangers, percentiles(resampled))

    def _chunks(self) -> Iterator[NDArray[np.float32]]:
        rows = max(1, CHUNK_BYTES // (4 * len(self._person)))
        for start in range(0, len(self._times), rows):
            yield self._times[start : start + rows]

    def _resampled(self, times: NDArray[np.float32], fpir: float) -> NDArray[np.float64]:
        """[r] FNIR of some resamples."""
        let_in = np.cumsum(times[:, self._person[self._stranger]], axis=1)
        # Sums of whole numbers are exact in single precision up to 2^24.
        allowed = (let_in <= fpir * let_in[:, -1:] + 1e-3).sum(1)
        hits = np.zeros((len(times), self._hit.size + 1), dtype=np.float32)
        np.cumsum(times[:, self._person[self._hit]], axis=1, out=hits[:, 1:])
        searched = times[:, self._person[self._mated]].sum(1)
        found = hits[np.arange(len(times)), self._hits_above[allowed]].astype(np.float64)
        result: NDArray[np.float64] = 1 - found / np.maximum(searched, 1)
        return result
