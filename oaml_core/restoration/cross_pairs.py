"""Rates over the faces of verification pairs, each first face compared with the second faces of all other people.

The impostors among n pairs are too few for a FAR of 1e-3; among n first and n second faces there are nearly n². Faces
that occur in several pairs count as often. Intervals resample people, and every score sees the same resamples.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.statistics.bootstrap import RESAMPLES, IdentityBootstrap, draw_identities
from oaml_core.evaluation.statistics.roc import roc, tar_at_far

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SPARE, LEAST_KEPT = 20, 20_000
"""Highest impostors whose identities are kept: so many times those that a rate accepts, and at least the second."""


class CrossPairs:
    """Genuine pairs, and impostors made of first and second faces of different people.

    Args:
        first: [n] identity number of each first face.
        second: [n] of each second face.
        issame: [n], true for genuine pairs.
        resamples: R.
        seed: of the resamples.
    """

    def __init__(
        self,
        first: Ints,
        second: Ints,
        issame: NDArray[np.bool_],
        *,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        people, numbers = np.unique(np.concatenate([first, second]), return_inverse=True)
        self._first, self._second = np.split(numbers.reshape(-1), 2)
        self._issame, self._people, self._resamples, self._seed = issame, len(people), resamples, seed
        self._different = self._first[:, None] != self._second
        self.impostors = int(self._different.sum())

    def tar(self, scores: Floats, far: float) -> tuple[float, float, Floats]:
        """Return TAR at a FAR, the threshold that gives it, and TAR in each resample [R] at that resample's threshold.

        Args:
            scores: [n, n], first faces by second faces.
            far: false accept rate.

        Raises:
            EvaluationError: there are no genuine pairs, or too few impostors for this rate.
        """
        genuine, others = np.diag(scores)[self._issame], scores[self._different]
        same = np.arange(len(genuine) + len(others)) < len(genuine)
        point = tar_at_far(roc(np.concatenate([genuine, others]), same), [far])[0]
        if point.tar is None or point.threshold is None:
            raise EvaluationError(
                f"{amount(len(others), 'pair')} of different people cannot measure a FAR of {far:g}. Give "
                "more pairs: restoration.test_pairs, restoration.test_covered_pairs."
            )
        kept = min(len(others), max(LEAST_KEPT, int(SPARE * far * len(others))))
        highest = np.argpartition(-others, kept - 1)[:kept]
        rows, columns = (side[highest] for side in np.nonzero(self._different))
        who = self._first[self._issame]
        bootstrap = IdentityBootstrap(
            np.concatenate([who, self._first[rows]]),
            np.concatenate([who, self._second[columns]]),
            np.arange(len(genuine) + kept) < len(genuine),
            np.random.default_rng(self._seed),
            self._resamples,
            people=self._people,
        )
        drawn = bootstrap.tar_at_far(np.concatenate([genuine, others[highest]]), [far], self._weight(self._different))
        return point.tar, point.threshold, drawn[:, 0]

    def accepted(self, scores: Floats, threshold: float) -> tuple[tuple[float, Floats], tuple[float, Floats]]:
        """Return TAR and FAR at one threshold, each with its resamples [R].

        Args:
            scores: [n, n], first faces by second faces.
            threshold: pairs at or above it are accepted.
        """
        above = scores >= threshold
        genuine, who = np.diag(above)[self._issame], self._first[self._issame]
        let_in, of_all = (np.bincount(who, flags, self._people) for flags in (genuine, np.ones(len(who))))
        tar = (self._drawn @ let_in) / np.maximum(self._drawn @ of_all, 1)
        false = above & self._different
        far = self._weight(false) / np.maximum(self._weight(self._different), 1)
        return (float(genuine.mean()), tar), (float(false.sum() / self.impostors), far)

    @cached_property
    def _drawn(self) -> Floats:
        """How often each of P people is drawn [R, P], as `IdentityBootstrap` draws them from the same seed."""
        times = np.empty((self._resamples, self._people), dtype=np.float32)
        draw_identities(self._people, np.random.default_rng(self._seed), times)
        return times.astype(np.float64)

    def _weight(self, chosen: NDArray[np.bool_]) -> Floats:
        """Return the weight [R] of chosen impostors [n, n] in each resample."""
        counts = np.zeros((self._people, self._people))
        rows, columns = np.nonzero(chosen)
        np.add.at(counts, (self._first[rows], self._second[columns]), 1)
        weights: Floats = ((self._drawn @ counts) * self._drawn).sum(1)
        return weights
