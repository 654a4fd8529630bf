"""Verification accuracy over ten folds: the published protocol to the last digit, and one for scores of any range.

The published protocol (insightface, face.evoLVe, AdaFace: `evaluate_utils.py`) tries 400 thresholds,
0 … 3.99, on the squared L2 distance of unit embeddings. Each fold is judged at the threshold that is best on
the other nine. Here all thresholds of all folds are counted at once: each pair is put into the one bin
between two thresholds where its decision flips, and cumulative sums over the bins give every confusion count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oaml_core.amounts import amount
from oaml_core.data.sources.verification import folds_of
from oaml_core.errors import EvaluationError

PUBLISHED_THRESHOLDS: NDArray[np.float64] = np.arange(0, 4, 0.01)
"""Thresholds on the squared L2 distance of unit embeddings."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class TenFold:
    """The measurements of a k-fold protocol."""

    accuracy_by_fold: Floats
    """[folds], each in [0, 1]."""
    threshold_by_fold: Floats
    """[folds], the threshold chosen on the other folds, in the unit of what was given."""
    correct: Bools
    """[N], whether each pair was decided rightly when its fold was the test fold."""
    tpr_by_threshold: Floats | None = None
    """[thresholds], mean over the folds; published protocol only."""
    fpr_by_threshold: Floats | None = None
    """[thresholds], mean over the folds; published protocol only."""

    @property
    def accuracy(self) -> float:
        """Mean accuracy over the folds, in [0, 1]."""
        return float(self.accuracy_by_fold.mean())

    @property
    def accuracy_std(self) -> float:
        """Standard deviation of the accuracy over the folds, as published tables give it."""
        return float(self.accuracy_by_fold.std())


class _Labelled(Protocol):
    @property
    def issame(self) -> Bools: ...


def check_kinds(sets: Mapping[str, _Labelled]) -> None:
    """Refuse sets that no protocol can be computed from, before their faces are described.

    Args:
        sets: verification sets by name.

    Raises:
        EvaluationError: a set has no genuine or no impostor pair.
    """
    for name, pairs in sets.items():
        try:
            checked_pairs(np.zeros(len(pairs.issame)), pairs.issame)
        except EvaluationError as error:
            raise EvaluationError(f"Verification set {name}: {error}") from error


def checked_pairs(scores: ArrayLike, issame: ArrayLike, what: str = "scores") -> tuple[Floats, Bools]:
    """Return scores and labels as arrays that every protocol can work on.

    Args:
        scores: [N] scores or distances.
        issame: [N], true for genuine pairs.
        what: what the scores are called in error messages.

    Raises:
        EvaluationError: the lengths differ, a score is NaN or infinite, or there are no genuine or no
            impostor pairs.
    """
    values = np.asarray(scores, dtype=np.float64)
    labels = np.asarray(issame, dtype=np.bool_)
    if values.ndim != 1 or values.shape != labels.shape:
        raise EvaluationError(
            f"The {what} have shape {values.shape} and the labels (issame) {labels.shape}; "
            "both must be [N], one entry a pair."
        )
    unusable = ~np.isfinite(values)
    if unusable.any():
        raise EvaluationError(
            f"{int(unusable.sum())} of {values.size} {what} are NaN or infinite, the first at pair "
            f"{int(unusable.argmax())}. The model that gave them has diverged, or its input was not an image: "
            "evaluate an earlier checkpoint."
        )
    genuine = int(labels.sum())
    if genuine in (0, labels.size):
        missing = "genuine" if genuine == 0 else "impostor"
        raise EvaluationError(
            f"There is no {missing} pair among the {amount(labels.size, 'pair')}; accuracy and error rates need "
            "both kinds. Check the labels (issame) of the verification set."
        )
    return values, labels


def fold_numbers(pairs: int, folds: int | None = None) -> NDArray[np.int64]:
    """Return [pairs], the fold of each pair: consecutive blocks, the first `pairs % folds` one pair longer.

    Args:
        pairs: number of pairs.
        folds: number of folds; None: ten, or as many as there are pairs.

    Raises:
        EvaluationError: fewer than two folds, or fewer pairs than folds.
    """
    folds = folds_of(pairs) if folds is None else folds
    if not 2 <= folds <= pairs:
        raise EvaluationError(
            f"{amount(pairs, 'pair')} cannot be cut into {amount(folds, 'fold')}; 2 … {amount(pairs, 'fold')} "
            "are possible."
        )
    sizes = np.full(folds, pairs // folds)
    sizes[: pairs % folds] += 1
    return np.repeat(np.arange(folds), sizes)


def squared_distances(embeddings: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return [N] squared L2 distances of the rows 0-1, 2-3, … of unit `embeddings` [2N, E], in their own precision."""
    difference = embeddings[0::2] - embeddings[1::2]
    result: NDArray[np.floating] = np.sum(np.square(difference), axis=1)
    return result


def ten_fold(
    distances: ArrayLike,
    issame: ArrayLike,
    folds: int | None = None,
    thresholds: Floats = PUBLISHED_THRESHOLDS,
) -> TenFold:
    """Return the published protocol: a pair is accepted if its distance is below the threshold.

    Args:
        distances: [N] squared L2 distances of unit embeddings, in [0, 4] (2 − 2·cosine).
        issame: [N], true for genuine pairs.
        folds: number of consecutive blocks; None: ten, or as many as there are pairs.
        thresholds: [T], ascending; of several that are best on the training folds the smallest is taken.

    Raises:
        EvaluationError: see `checked_pairs` and `fold_numbers`.

    Example:
        >>> import numpy as np
        >>> import oaml_core as oaml
        >>> same = np.arange(600) % 2 == 0
        >>> cosines = np.random.default_rng(0).normal(np.where(same, 0.6, 0.1), 0.2).clip(-1, 1)
        >>> 0.85 < oaml.ten_fold(2 - 2 * cosines, same).accuracy < 0.95
        True
    """
    values, labels = checked_pairs(distances, issame, "distances")
    folds = folds_of(values.size) if folds is None else folds
    fold = fold_numbers(values.size, folds)
    # distance < threshold holds from this threshold on.
    flips_at = np.searchsorted(thresholds, values, side="right")
    accepted = _accepted_by_fold(fold, labels, flips_at, folds, thresholds.size)
    genuine, impostors = _pairs_by_fold(fold, labels, folds)
    correct = accepted[1] + (impostors[:, None] - accepted[0])
    correct_on_others = correct.sum(axis=0) - correct
    chosen = correct_on_others.argmax(axis=1)
    return TenFold(
        accuracy_by_fold=correct[np.arange(folds), chosen] / (genuine + impostors),
        threshold_by_fold=thresholds[chosen],
        correct=(values < thresholds[chosen][fold]) == labels,
        tpr_by_threshold=_rates(accepted[1], genuine).mean(axis=0),
        fpr_by_threshold=_rates(accepted[0], impostors).mean(axis=0),
    )


def ten_fold_any_range(scores: ArrayLike, issame: ArrayLike, folds: int | None = None) -> TenFold:
    """Return the same protocol for similarity scores of any range, with no grid of thresholds.

    Every cut between two neighbouring distinct scores of the training folds is tried (and accepting all and
    none), which is every decision that a threshold can make. Of the cuts that are best the middle one is
    taken; the threshold lies half-way between its two scores. A pair is accepted if its score is at or above
    the threshold. On scores that a grid resolves finely the accuracy agrees with `ten_fold` up to the choice
    among equally good thresholds.

    Args:
        scores: [N] similarities, higher for more alike.
        issame: [N], true for genuine pairs.
        folds: number of consecutive blocks; None: ten, or as many as there are pairs.

    Raises:
        EvaluationError: see `checked_pairs` and `fold_numbers`.
    """
    values, labels = checked_pairs(scores, issame)
    folds = folds_of(values.size) if folds is None else folds
    fold = fold_numbers(values.size, folds)
    threshold = np.empty(folds)
    order = np.argsort(values, kind="stable")
    for k in range(folds):
        train = order[fold[order] != k]
        threshold[k] = best_threshold(values[train], labels[train])
    correct = (values >= threshold[fold]) == labels
    accuracy = np.bincount(fold, weights=correct) / np.bincount(fold)
    return TenFold(accuracy_by_fold=accuracy, threshold_by_fold=threshold, correct=correct)


def best_threshold(ascending: Floats, labels: Bools) -> float:
    """Return the threshold that decides most pairs rightly; the middle one of those that are equally good.

    Args:
        ascending: [N] scores in ascending order.
        labels: [N], true for genuine pairs.
    """
    starts = np.flatnonzero(np.diff(ascending, prepend=-np.inf))
    impostors_below = np.concatenate([[0], np.cumsum(~labels)])
    # A cut before position i refuses the pairs before i and accepts those from i on.
    cuts = np.append(starts, ascending.size)
    genuine_from = labels.sum() - (cuts - impostors_below[cuts])
    correct = impostors_below[cuts] + genuine_from
    best = np.flatnonzero(correct == correct.max())
    cut = int(cuts[best[best.size // 2]])
    if cut == 0:
        return float(ascending[0])
    if cut == ascending.size:
        return float(np.nextafter(ascending[-1], np.inf))
    middle = float((ascending[cut - 1] + ascending[cut]) / 2)
    # Two neighbouring floats have no middle: the upper one separates them.
    return middle if middle > ascending[cut - 1] else float(ascending[cut])


def _accepted_by_fold(
    fold: NDArray[np.int64], labels: Bools, flips_at: NDArray[np.intp], folds: int, thresholds: int
) -> NDArray[np.int64]:
    """[2, folds, thresholds]: pairs accepted, impostors first, then genuine."""
    cell = (labels.astype(np.int64) * folds + fold) * (thresholds + 1) + flips_at
    counts = np.bincount(cell, minlength=2 * folds * (thresholds + 1))
    return counts.reshape(2, folds, thresholds + 1).cumsum(axis=2)[:, :, :thresholds]


def _pairs_by_fold(fold: NDArray[np.int64], labels: Bools, folds: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    genuine = np.bincount(fold[labels], minlength=folds)
    return genuine, np.bincount(fold, minlength=folds) - genuine


def _rates(accepted: NDArray[np.int64], pairs: NDArray[np.int64]) -> Floats:
    """Accepted share in each fold; 0 for a fold without such pairs, as published."""
    return accepted / np.maximum(pairs, 1)[:, None]
