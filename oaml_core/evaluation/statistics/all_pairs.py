"""ROC over all pairs of a set of images, without ever holding all scores.

Of n images there are n·(n−1)/2 pairs, nearly all of them impostors: 200 million of 20,000 images, 5 billion of 100,000.
Scores come in blocks. Kept are every genuine score, the highest impostor scores (`EXACT` of them, or as many as an
`exact_far` accepts), and a histogram of all impostor scores over the ordered bit patterns of float32. TAR at a FAR
that accepts no more impostors than are kept is exact. At a larger one it is that of the next stricter edge of a bin,
and its error says how much higher the truth can be; AUC and EER come with such a bound too. Of the very highest
impostor scores it is kept too who they are of: the intervals of TAR resample people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.statistics.binned import (
    Bounded,
    Scores32,
    auc,
    bin_of,
    binned_curve,
    eer,
    empty_bins,
    histogram,
    joined,
    tail_curve,
)
from oaml_core.evaluation.statistics.bootstrap import IdentityBootstrap, percentiles
from oaml_core.evaluation.statistics.largest import Largest
from oaml_core.evaluation.statistics.roc import Roc, TarAtFar, tar_at_far
from oaml_core.evaluation.statistics.seed import SEED

BlockScores = Callable[[slice, slice], Scores32]
"""(rows, columns) to the scores [rows, columns] of these images with each other."""

BLOCK = 1024
"""Images on each side of a block of scores."""
LARGEST_FAR = 0.1
"""Rates beyond this are not reported over all pairs."""
EXACT = 2_000_000
"""Impostors that are kept one by one, if no `exact_far` asks for more: FAR 0.1 of 6,300 images, 1e-3 of 63,000."""
NAMED = 1_000_000
"""Impostors that are kept with their identities."""
NONE32 = np.empty(0, np.float32)
CURVE_BYTES = 64
"""Memory per kept score while curves are made of them."""


@dataclass(frozen=True)
class AllPairsRoc:
    """The figures of one score over all pairs."""

    genuine: int
    impostors: int
    tar_at_far: list[TarAtFar]
    """Thresholds and FARs are exact; TAR is at most `tar_errors` below the truth."""
    tar_errors: list[float]
    """How much higher TAR at each rate can be; 0: it is exact."""
    tar_intervals: list[tuple[float, float] | None]
    """95 % of each of them, over identities; None: not asked for, not measurable, or the rate is that of more pairs
    than are kept with their identities."""
    auc: Bounded
    eer: Bounded
    roc: Roc
    """Measured points: every one as far as impostors are kept, and the edges of the bins beyond."""
    histogram: dict[str, list[float]]
    """`edges`, and counts `genuine` and `impostor`; by bins of the streamed histogram."""


def upper_blocks(images: int, block: int = BLOCK) -> Iterator[tuple[slice, slice]]:
    """Yield rows and columns of the blocks that hold every pair of different images at least once."""
    for top in range(0, images, block):
        for left in range(top, images, block):
            yield slice(top, min(top + block, images)), slice(left, min(left + block, images))


def all_pairs_roc(
    scores: BlockScores,
    identities: NDArray[np.integer],
    rates: Sequence[float],
    *,
    block: int = BLOCK,
    exact_far: float | None = None,
) -> AllPairsRoc:
    """ROC of all pairs of different images.

    Args:
        scores: is called once a block of the upper triangle.
        identities: [n], who each image shows.
        rates: false accept rates in (0, `LARGEST_FAR`].
        block: images on each side of a block.
        exact_far: rate up to which TAR is exact, in memory that grows with the pairs; None: as far as `EXACT` goes.

    Raises:
        EvaluationError: there are no genuine or no impostor pairs, a score is not finite, or a rate is out of range.
    """
    stream = PairStream.of(identities, rates, exact_far=exact_far)
    for rows, columns in upper_blocks(len(identities), block):
        stream.add(scores(rows, columns), rows, columns)
    return stream.finish()


class PairStream:
    """Collects the blocks of one score; several streams can share one walk over the blocks."""

    def __init__(
        self,
        identities: NDArray[np.integer],
        genuine: int,
        impostors: int,
        rates: Sequence[float],
        intervals: bool,
        exact_far: float | None,
    ) -> None:
        _, self._sizes = np.unique(identities, return_counts=True)
        self._identities = np.unique(identities, return_inverse=True)[1].astype(np.int32)
        self._rates = rates
        self._genuine: list[Scores32] = []
        self._genuine_people: list[NDArray[np.int32]] = []
        self._kept = _accepted(max(rates), impostors)
        if exact_far is None or exact_far < max(rates):
            self._kept = min(self._kept, max(EXACT, _accepted(exact_far or 0.0, impostors)))
        # One more: the threshold of the last one kept lies above the next.
        self._tail = Largest(self._kept + 1)
        self._named = Largest(min(impostors, NAMED)) if intervals else None
        self._bins = empty_bins()
        self._counts = genuine, impostors

    @classmethod
    def of(
        cls,
        identities: NDArray[np.integer],
        rates: Sequence[float],
        *,
        intervals: bool = False,
        exact_far: float | None = None,
    ) -> PairStream:
        """Return a stream for all pairs of images with these identities; see `all_pairs_roc`.

        Args:
            identities: [n], who each image shows.
            rates: false accept rates.
            intervals: whether to find those of TAR, which takes seconds.
            exact_far: rate up to which TAR is exact whatever memory it takes; None: as far as `EXACT` goes.
        """
        _, sizes = np.unique(identities, return_counts=True)
        pairs = len(identities) * (len(identities) - 1) // 2
        genuine = int((sizes * (sizes - 1) // 2).sum())
        if genuine in (0, pairs):
            missing = "no two images show the same person" if genuine == 0 else "all images show one person"
            raise EvaluationError(
                f"Among {amount(len(identities), 'image')} {missing}; error rates need genuine and impostor pairs. "
                "Give one folder per identity, at least two identities, and two images of one of them."
            )
        unusable = [rate for rate in rates if not 0 < rate <= LARGEST_FAR]
        if unusable or not rates:
            raise EvaluationError(
                f"FAR {unusable[0] if unusable else 'none'} cannot be reported over all pairs; "
                f"evaluate.far takes rates in (0, {LARGEST_FAR}]."
            )
        return cls(identities, genuine, pairs - genuine, rates, intervals, exact_far)

    def add(self, block: Scores32, rows: slice, columns: slice) -> None:
        """Take in a block; pairs of an image with itself, and those below the diagonal, are passed over.

        Raises:
            EvaluationError: a score is not finite.
        """
        block = np.asarray(block, dtype=np.float32) + np.float32(0)  # −0 becomes 0: they are one score
        first, second = np.arange(rows.start, rows.stop), np.arange(columns.start, columns.stop)
        if not np.isfinite(block).all():
            row, column = np.argwhere(~np.isfinite(block))[0]
            raise EvaluationError(
                f"The score of images {first[row]} and {second[column]} is NaN or infinite. The model has diverged, "
                "or its input was not an image: evaluate an earlier checkpoint."
            )
        same = self._identities[rows][:, None] == self._identities[columns]
        impostor = ~same
        if rows.start == columns.start:
            upper = first[:, None] < second
            same &= upper
            impostor &= upper
        self._genuine.append(block[same])
        others = block[impostor]
        self._bins += np.bincount(bin_of(others), minlength=self._bins.size)
        self._tail.add(others)
        if self._named is not None:
            self._genuine_people.append(self._identities[rows][np.nonzero(same)[0]])
            one, other = np.nonzero(impostor)
            self._named.add(others, self._identities[rows][one], self._identities[columns][other])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that was collected, for the stream of another process to take in."""
        self._tail.add(NONE32)  # there may have been no block
        counted = np.flatnonzero(self._bins)
        found: dict[str, NDArray[Any]] = {
            "genuine": np.concatenate([NONE32, *self._genuine]),
            "bins": counted.astype(np.uint32),
            "counts": self._bins[counted],
            "tail": self._tail.sorted()[0],
        }
        if self._named is not None:
            nobody = np.empty(0, np.int32)
            self._named.add(NONE32, nobody, nobody)
            found["people"] = np.concatenate([nobody, *self._genuine_people])
            found |= dict(zip(("named", "one", "other"), self._named.sorted(), strict=True))
        return found

    def take_in(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take in what another stream of the same images collected of blocks that follow those of this one.

        Raises:
            KeyError: an array is missing.
        """
        self._genuine.append(arrays["genuine"])
        self._bins[arrays["bins"]] += arrays["counts"]
        self._tail.add(arrays["tail"])
        if self._named is not None:
            self._genuine_people.append(arrays["people"])
            self._named.add(arrays["named"], arrays["one"], arrays["other"])

    def finish(self) -> AllPairsRoc:
        """Return the figures, when every block was added.

        Raises:
            ValueError: other numbers of pairs were added than there are.
        """
        if (sum(map(len, self._genuine)), int(self._bins.sum())) != self._counts:
            raise ValueError("not all blocks were added, or one of them twice")
        genuine_count, impostors = self._counts
        genuine = np.sort(np.concatenate(self._genuine))[::-1]
        tail = self._tail.sorted()[0]
        exact, binned = tail_curve(genuine, tail, impostors), binned_curve(genuine, self._bins, impostors)
        found = [self._tar_at(rate, exact, binned) for rate in self._rates]
        return AllPairsRoc(
            genuine=genuine_count,
            impostors=impostors,
            tar_at_far=(points := [point for point, _ in found]),
            tar_errors=[error for _, error in found],
            tar_intervals=self._intervals(points),
            auc=auc(genuine, self._bins, impostors),
            eer=eer(binned),
            roc=joined(exact, binned),
            histogram=histogram(genuine, self._bins),
        )

    def _tar_at(self, rate: float, exact: Roc, binned: Roc) -> tuple[TarAtFar, float]:
        """Return TAR at a rate, and how much higher the truth can be."""
        accepted = _accepted(rate, self._counts[1])
        if accepted <= self._kept:
            return tar_at_far(exact, [rate])[0], 0.0
        (point,) = tar_at_far(binned, [rate])
        # The bin after this edge holds more impostors than the rate accepts: the true threshold lies in it.
        after = int(np.searchsorted(np.rint(binned.far * self._counts[1]), accepted, side="right"))
        return point, float(binned.tar[after] - (point.tar or 0.0))

    def memory_bound(self) -> int:
        """Return bytes that are held at most while blocks are added, and while the figures are found."""
        genuine, impostors = self._counts[0], min(self._kept + 1, self._counts[1])
        held = 4 * genuine + 8 * self._bins.size + self._tail.most_bytes(1)
        if self._named is not None:
            held += 4 * genuine + self._named.most_bytes(3)
        # Curves: FAR, TAR and threshold in double precision, and what they are made from.
        return held + CURVE_BYTES * (genuine + impostors)

    def _intervals(self, points: Sequence[TarAtFar]) -> list[tuple[float, float] | None]:
        if self._named is None:
            return [None] * len(points)
        genuine, people = np.concatenate(self._genuine), np.concatenate(self._genuine_people)
        tail, *pair = self._named.sorted()
        bootstrap = IdentityBootstrap(
            np.concatenate([people, pair[0]]).astype(np.int64),
            np.concatenate([people, pair[1]]).astype(np.int64),
            np.arange(people.size + tail.size) < people.size,
            np.random.default_rng(SEED),
            people=self._sizes.size,
        )
        images = bootstrap.drawn.astype(np.float64) * self._sizes
        impostors = (images.sum(1) ** 2 - (images**2).sum(1)) / 2
        scores = np.concatenate([genuine, tail]).astype(np.float64)
        found = bootstrap.tar_at_far(scores, self._rates, impostors).T
        return [
            percentiles(drawn) if point.measurable and np.isfinite(drawn).all() else None
            for point, drawn in zip(points, found, strict=True)
        ]


def _accepted(rate: float, impostors: int) -> int:
    """Return how many impostors a rate accepts; 0.1 · 600 is a whole number only up to rounding."""
    return int(rate * impostors + 1e-6)
