"""ROC over all pairs of a set of images, without ever holding all scores.

Of n images there are n·(n−1)/2 pairs, nearly all of them impostors: 200 million of 20,000 images. Scores come in
blocks. Kept are every genuine score, the highest impostor scores (as many as the largest reported FAR accepts), and
a histogram of all impostor scores over the ordered bit patterns of float32. So TAR at every reported FAR is exact, and
AUC and EER come with the bound that the histogram's bins leave. Of the very highest impostor scores it is kept too who
they are of: the intervals of TAR resample people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oaml_core.errors import EvaluationError
from oaml_core.evaluation.statistics.bootstrap import IdentityBootstrap, percentiles
from oaml_core.evaluation.statistics.largest import Largest
from oaml_core.evaluation.statistics.roc import Roc, TarAtFar, tar_at_far
from oaml_core.evaluation.statistics.seed import SEED

Scores32 = NDArray[np.float32]
BlockScores = Callable[[slice, slice], Scores32]
"""(rows, columns) to the scores [rows, columns] of these images with each other."""

BIN_BITS = 20
"""Leading bits of an ordered float32 that name its bin: 2^20 bins, 1/2048 of a score wide at most."""
BLOCK = 1024
"""Images on each side of a block of scores."""
LARGEST_EXACT_FAR = 0.1
"""Impostors up to this share are kept one by one."""
NAMED = 1_000_000
"""Impostors that are kept with their identities."""


@dataclass(frozen=True)
class Bounded:
    """A figure and how far at most the truth is from it."""

    value: float
    error: float


@dataclass(frozen=True)
class AllPairsRoc:
    """What all pairs say about one score."""

    genuine: int
    impostors: int
    tar_at_far: list[TarAtFar]
    """Exact."""
    tar_intervals: list[tuple[float, float] | None]
    """95 % of each of them, over identities; None: not asked for, not measurable, or the rate is that of more pairs
    than are kept with their identities."""
    auc: Bounded
    eer: Bounded
    roc: Roc
    """Measured points: every one up to the largest reported FAR, and the edges of the bins beyond."""
    histogram: dict[str, list[float]]
    """`edges`, and counts `genuine` and `impostor`; by bins of the streamed histogram."""


def upper_blocks(images: int, block: int = BLOCK) -> Iterator[tuple[slice, slice]]:
    """Yield rows and columns of the blocks that hold every pair of different images at least once."""
    for top in range(0, images, block):
        for left in range(top, images, block):
            yield slice(top, min(top + block, images)), slice(left, min(left + block, images))


def all_pairs_roc(
    scores: BlockScores, identities: NDArray[np.integer], rates: Sequence[float], *, block: int = BLOCK
) -> AllPairsRoc:
    """ROC of all pairs of different images.

    Args:
        scores: is called once a block of the upper triangle.
        identities: [n], who each image shows.
        rates: false accept rates in (0, `LARGEST_EXACT_FAR`].
        block: images on each side of a block.

    Raises:
        EvaluationError: there are no genuine or no impostor pairs, a score is not finite, or a rate is out of range.
    """
    stream = PairStream.of(identities, rates)
    for rows, columns in upper_blocks(len(identities), block):
        stream.add(scores(rows, columns), rows, columns)
    return stream.finish()


class PairStream:
    """Collects the blocks of one score; several streams can share one walk over the blocks."""

    def __init__(
        self, identities: NDArray[np.integer], genuine: int, impostors: int, rates: Sequence[float], intervals: bool
    ) -> None:
        _, self._sizes = np.unique(identities, return_counts=True)
        self._identities = np.unique(identities, return_inverse=True)[1].astype(np.int32)
        self._rates = rates
        self._genuine: list[Scores32] = []
        self._genuine_people: list[NDArray[np.int32]] = []
        self._tail = Largest(int(max(rates) * impostors + 1e-6) + 1)
        self._named = Largest(min(impostors, NAMED)) if intervals else None
        self._bins = np.zeros(1 << BIN_BITS, dtype=np.int64)
        self._counts = genuine, impostors

    @classmethod
    def of(cls, identities: NDArray[np.integer], rates: Sequence[float], *, intervals: bool = False) -> PairStream:
        """Return a stream for all pairs of images with these identities; see `all_pairs_roc`.

        Args:
            identities: [n], who each image shows.
            rates: false accept rates.
            intervals: whether to find those of TAR, which takes seconds.
        """
        _, sizes = np.unique(identities, return_counts=True)
        pairs = len(identities) * (len(identities) - 1) // 2
        genuine = int((sizes * (sizes - 1) // 2).sum())
        if genuine in (0, pairs):
            missing = "no two images show the same person" if genuine == 0 else "all images show one person"
            raise EvaluationError(
                f"Among {len(identities)} images {missing}; error rates need genuine and impostor pairs. "
                "Give one folder an identity, at least two identities, and two images of one of them."
            )
        unusable = [rate for rate in rates if not 0 < rate <= LARGEST_EXACT_FAR]
        if unusable or not rates:
            raise EvaluationError(
                f"FAR {unusable[0] if unusable else 'none'} cannot be reported over all pairs; "
                f"evaluate.far takes rates in (0, {LARGEST_EXACT_FAR}]."
            )
        return cls(identities, genuine, pairs - genuine, rates, intervals)

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
        self._bins += np.bincount(_bin_of(others), minlength=self._bins.size)
        self._tail.add(others)
        if self._named is not None:
            self._genuine_people.append(self._identities[rows][np.nonzero(same)[0]])
            one, other = np.nonzero(impostor)
            self._named.add(others, self._identities[rows][one], self._identities[columns][other])

    def finish(self) -> AllPairsRoc:
        """Return the figures, when every block was added."""
        genuine_count, impostors = self._counts
        genuine = np.sort(np.concatenate(self._genuine))[::-1]
        tail = self._tail.sorted()[0]
        exact, binned = _tail_curve(genuine, tail, impostors), _binned_curve(genuine, self._bins, impostors)
        return AllPairsRoc(
            genuine=genuine_count,
            impostors=impostors,
            tar_at_far=(points := tar_at_far(exact, self._rates)),
            tar_intervals=self._intervals(points),
            auc=_auc(genuine, self._bins, impostors),
            eer=_eer(binned),
            roc=_joined(exact, binned),
            histogram=_histogram(genuine, self._bins),
        )

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


def _bin_of(values: Scores32) -> NDArray[np.uint32]:
    """Bins in the order of the values: a float's bits are its order, but for the sign."""
    bits = values.view(np.uint32)
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return ordered >> np.uint32(32 - BIN_BITS)


def _lower_edge(bins: NDArray[np.intp]) -> Scores32:
    """Return smallest value of each bin."""
    ordered = bins.astype(np.uint32) << np.uint32(32 - BIN_BITS)
    bits = np.where(ordered >> 31, ordered & np.uint32((1 << 31) - 1), ~ordered)
    return bits.astype(np.uint32).view(np.float32)


def _tail_curve(genuine: Scores32, tail: Scores32, impostors: int) -> Roc:
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


def _binned_curve(genuine: Scores32, counts: NDArray[np.int64], impostors: int) -> Roc:
    """Return both edges of every bin that holds impostors are measured points too."""
    bins = np.flatnonzero(counts)[::-1]
    upto = np.cumsum(counts[bins])
    edges = np.stack([_lower_edge(bins + 1), _lower_edge(bins)], axis=1).ravel()
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


def _joined(tail: Roc, binned: Roc) -> Roc:
    """Return the exact points as far as they go, then those of the bins."""
    beyond = binned.far > tail.far[-1]
    return Roc(
        np.concatenate([tail.far, binned.far[beyond]]),
        np.concatenate([tail.tar, binned.tar[beyond]]),
        np.concatenate([tail.threshold, binned.threshold[beyond]]),
        tail.genuine,
        tail.impostors,
    )


def _auc(genuine: Scores32, counts: NDArray[np.int64], impostors: int) -> Bounded:
    """Wins of genuine over impostor pairs. Within a bin half of them are counted, which is off by half at most."""
    of_genuine = np.bincount(_bin_of(genuine), minlength=counts.size)
    below = np.cumsum(counts) - counts
    total = float(genuine.size) * impostors
    tied = float(of_genuine @ counts)
    return Bounded(float((of_genuine @ below + 0.5 * tied) / total), 0.5 * tied / total)


def _eer(curve: Roc) -> Bounded:
    """Between two measured points FAR only grows and FRR only falls: all four rates bound their crossing."""
    frr = 1 - curve.tar
    after = int(np.argmax(curve.far >= frr))
    low = max(curve.far[after - 1], frr[after])
    high = min(curve.far[after], frr[after - 1])
    return Bounded(float((low + high) / 2), float((high - low) / 2))


def _histogram(genuine: Scores32, bins: NDArray[np.int64], count: int = 80) -> dict[str, list[float]]:
    """Return counts over `count` equal intervals; an impostor counts where its bin begins."""
    used = np.flatnonzero(bins)
    values = _lower_edge(used)
    low, high = min(values[0], genuine.min()), max(values[-1], genuine.max())
    edges = np.linspace(low, high if high > low else low + 1, count + 1)
    return {
        "edges": edges.tolist(),
        "genuine": np.histogram(genuine, edges)[0].tolist(),
        "impostor": np.histogram(values, edges, weights=bins[used])[0].astype(int).tolist(),
    }
