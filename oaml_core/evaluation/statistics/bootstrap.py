"""How sure a figure is: resampling of identities, not of pairs.

Pairs that show the same person are not independent, so people are drawn with replacement and pairs follow: with w(i)
the number of times that identity i was drawn, a genuine pair of i counts w(i) times and an impostor pair of i and j
w(i)·w(j) times (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2), 2007). Where most people appear
in one impostor pair only, these intervals are wider than they need be, by √3 at most, and never narrower.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oaml_core.evaluation.statistics.protocols import Bools, Floats

RESAMPLES = 1_000
LEVEL = 0.95
CHUNK_BYTES = 32 * 2**20
"""Budget for the weights of the pairs that are held at a time."""

Ints = NDArray[np.int64]


class Interval(NamedTuple):
    """A figure, or a difference of two, and its 95 % percentile interval; shares in [-1, 1]."""

    difference: float
    low: float
    high: float

    @classmethod
    def of(cls, found: float, resampled: Floats) -> Interval:
        """Return the interval around `found` from its resamples [R]."""
        return cls(found, *percentiles(resampled))


def in_points(*shares: float) -> list[str]:
    """Differences as signed points of %, `+1.25` or `−0.40`; what rounds to nothing has no minus."""
    return [f"{round(100 * share, 2) + 0.0:+.2f}".replace("-", "−") for share in shares]


def percentiles(resampled: Floats) -> tuple[float, float]:
    """Return both ends of the 95 % interval of resamples [R]."""
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def draw_identities(count: int, generator: np.random.Generator, times: NDArray[np.float32]) -> None:
    """Fill `times` [R, count]: how often each of `count` identities is among as many drawn with replacement."""
    for row in times:
        row[:] = np.bincount(generator.integers(count, size=count), minlength=count)


class IdentityBootstrap:
    """The same resamples of a set's identities for every score and condition, so that differences are paired.

    Args:
        first: [N] identity number of each pair's first image.
        second: [N] of its second image.
        issame: [N], true for genuine pairs; they count by the first image's identity.
        generator: of the resamples.
        resamples: R.
        people: identities that are drawn from, where some of them are in none of the N pairs; their numbers are then
            0 … people − 1. None: those of the pairs.

    Example:
        >>> import numpy as np
        >>> import oaml_core as oaml
        >>> same = np.arange(200) % 2 == 0
        >>> first = np.arange(200) // 10
        >>> second = np.where(same, first, (first + 1) % 20)
        >>> resamples = oaml.IdentityBootstrap(first, second, same, np.random.default_rng(0), resamples=100)
    """

    def __init__(
        self,
        first: Ints,
        second: Ints,
        issame: Bools,
        generator: np.random.Generator,
        resamples: int = RESAMPLES,
        people: int | None = None,
    ) -> None:
        both = np.concatenate([first, second])
        compact = np.unique(both, return_inverse=True)[1] if people is None else both
        self._first, self._second = np.split(compact, 2)
        self._issame = issame
        self.identities = int(compact.max()) + 1 if people is None else people
        # The last column is the 1 that genuine pairs are multiplied by.
        self._drawn = np.ones((resamples, self.identities + 1), dtype=np.float32)
        draw_identities(self.identities, generator, self._drawn[:, :-1])

    def shares(self, flags: NDArray[np.bool_], among: Bools | None = None) -> NDArray[np.float64]:
        """Return [R, K]: the weighted share of pairs for which each of K statements [N, K] holds, per resample.

        Args:
            flags: [N, K].
            among: [N], the pairs that count; None: all.
        """
        chosen = np.arange(len(self._issame)) if among is None else np.flatnonzero(among)
        numbers = flags[chosen].astype(np.float32)
        found = [
            (weights @ numbers) / np.maximum(weights.sum(1, keepdims=True), 1) for weights in self._weights(chosen)
        ]
        return np.concatenate(found).astype(np.float64)

    def tar_at_far(
        self, scores: Floats, rates: Sequence[float], impostors: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Return TAR [R, rates] per resample, at the loosest threshold whose FAR there does not exceed the rate.

        Args:
            scores: [N] similarities.
            rates: false accept rates.
            impostors: [R] weight of all impostor pairs in each resample, where N holds only the highest of them; TAR
                is NaN where these are too few for a rate. None: all are there.
        """
        genuine, impostor = _descending(scores, self._issame), _descending(scores, ~self._issame)
        # Genuine pairs that score above each impostor; all of them, if no impostor is refused.
        above = np.searchsorted(-scores[genuine], -scores[impostor], side="left")
        above = np.append(above, genuine.size)
        found = []
        done = 0
        for of_genuine, of_impostors in zip(self._weights(genuine), self._weights(impostor), strict=True):
            let_in = np.cumsum(of_impostors, axis=1)
            rows = slice(done, done + len(let_in))
            everything = let_in[:, -1:] if impostors is None else impostors[rows, None]
            done = rows.stop
            accepted = np.zeros((len(of_genuine), genuine.size + 1), dtype=np.float32)
            np.cumsum(of_genuine, axis=1, out=accepted[:, 1:])
            # Sums of whole numbers are exact in single precision up to 2^24.
            refused_from = np.empty((len(let_in), len(rates)), dtype=np.intp)
            for column, rate in enumerate(rates):
                refused_from[:, column] = (let_in <= rate * everything + 1e-3).sum(1)
            tar = np.take_along_axis(accepted, above[refused_from], axis=1) / np.maximum(accepted[:, -1:], 1)
            beyond = (refused_from == impostor.size) & (everything > let_in[:, -1:])
            found.append(np.where(beyond, np.nan, tar))
        return np.concatenate(found).astype(np.float64)

    @property
    def drawn(self) -> NDArray[np.float32]:
        """Return [R, identities]: how often each identity occurs in each resample."""
        return self._drawn[:, :-1]

    def _weights(self, pairs: NDArray[np.intp]) -> Iterator[NDArray[np.float32]]:
        """[r, len(pairs)] of some resamples at a time."""
        first = self._first[pairs]
        second = np.where(self._issame[pairs], self.identities, self._second[pairs])
        # As many rows whatever the pairs, so that two of these run in step.
        rows = max(1, CHUNK_BYTES // (4 * len(self._issame)))
        for start in range(0, len(self._drawn), rows):
            drawn = self._drawn[start : start + rows]
            yield drawn[:, first] * drawn[:, second]


def _descending(scores: Floats, chosen: Bools) -> NDArray[np.intp]:
    """Return numbers of the chosen pairs, best score first."""
    numbers = np.flatnonzero(chosen)
    return numbers[np.argsort(-scores[numbers], kind="stable")]
