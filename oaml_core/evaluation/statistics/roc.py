"""ROC, area under it, equal error rate and TAR at FAR, of similarity scores.

A pair is accepted if its score is at or above the threshold. Rates are counts over pairs: TAR (VR, TPR) of the
genuine ones, FAR (FPR) of the impostors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oaml_core.amounts import amount
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.statistics.protocols import checked_pairs

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Roc:
    """Error rates at each distinct score, from the strictest threshold to the loosest."""

    far: Floats
    """[T], ascending from 0 to 1."""
    tar: Floats
    """[T], ascending from 0 to 1."""
    threshold: Floats
    """[T], descending, finite; the first lies just above the highest score."""
    genuine: int
    """Genuine pairs."""
    impostors: int
    """Impostor pairs; the smallest FAR that they can measure is 1 / impostors."""


@dataclass(frozen=True)
class TarAtFar:
    """TAR at one false accept rate, or the statement that the pairs are too few to measure it."""

    far: float
    """The rate asked for."""
    tar: float | None
    """Share of the genuine pairs accepted, in [0, 1]; None: not measurable."""
    threshold: float | None
    """The loosest threshold whose measured FAR does not exceed `far`; None: not measurable."""
    measured_far: float | None
    """FAR at that threshold; with tied scores it can lie below `far`."""
    smallest_far: float
    """1 / impostors: a smaller rate cannot be told from zero with these pairs."""

    @property
    def measurable(self) -> bool:
        """Return True if there are enough impostor pairs for this rate."""
        return self.tar is not None

    def __str__(self) -> str:
        if self.tar is None:
            return f"not measurable (needs {amount(round(1 / self.far), 'impostor pair')})"
        return f"{100 * self.tar:.2f} %"


def roc(scores: ArrayLike, issame: ArrayLike) -> Roc:
    """Return the complete ROC, one point for each distinct score and one that accepts nothing.

    Args:
        scores: [N] similarities.
        issame: [N], true for genuine pairs.

    Raises:
        EvaluationError: see `checked_pairs`.

    Example:
        >>> import oaml_core as oaml
        >>> curve = oaml.roc([0.9, 0.6, 0.7, 0.1], [True, True, False, False])
        >>> curve.far.tolist(), curve.tar.tolist()
        ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
    """
    values, labels = checked_pairs(scores, issame)
    order = np.argsort(-values, kind="stable")
    values, labels = values[order], labels[order]
    ends = np.flatnonzero(np.append(np.diff(values) != 0, True))
    accepted_genuine = np.cumsum(labels)[ends]
    accepted_impostors = ends + 1 - accepted_genuine
    genuine = int(labels.sum())
    impostors = labels.size - genuine
    return Roc(
        far=np.concatenate([[0.0], accepted_impostors / impostors]),
        tar=np.concatenate([[0.0], accepted_genuine / genuine]),
        threshold=np.concatenate([[np.nextafter(values[0], np.inf)], values[ends]]),
        genuine=genuine,
        impostors=impostors,
    )


def auc(curve: Roc) -> float:
    """Area under the ROC: the chance that a genuine pair scores above an impostor pair, ties counted half."""
    return float(np.trapezoid(curve.tar, curve.far))


def eer(curve: Roc) -> float:
    """Return the rate at which false accepts and false rejects are equal, on the ROC's straight segments."""
    difference = curve.far - (1.0 - curve.tar)
    after = int(np.argmax(difference >= 0))
    if difference[after] == 0:
        return float(curve.far[after])
    before = after - 1
    share = -difference[before] / (difference[after] - difference[before])
    return float(curve.far[before] + share * (curve.far[after] - curve.far[before]))


def tar_at_far(curve: Roc, rates: Sequence[float]) -> list[TarAtFar]:
    """Return TAR at each false accept rate, read off measured points only: nothing is interpolated.

    A rate below 1 / impostors is not measurable: no threshold that accepts an impostor has so small a FAR, and
    one that accepts none says only that the rate is below 1 / impostors.

    Args:
        curve: complete ROC.
        rates: false accept rates, each in (0, 1].

    Raises:
        EvaluationError: a rate outside (0, 1].

    Example:
        >>> import oaml_core as oaml
        >>> curve = oaml.roc([0.9, 0.6, 0.7, 0.1], [True, True, False, False])
        >>> [point.tar for point in oaml.tar_at_far(curve, [0.5])]
        [1.0]
    """
    return [_tar_at(curve, rate) for rate in rates]


def _tar_at(curve: Roc, rate: float) -> TarAtFar:
    if not 0.0 < rate <= 1.0:
        raise EvaluationError(f"FAR {rate} is not a rate in (0, 1]; change evaluate.far.")
    smallest = 1.0 / curve.impostors
    # Rates such as 0.1 · 600 are whole numbers only up to rounding.
    allowed = np.floor(rate * curve.impostors + 1e-6)
    if allowed < 1:
        return TarAtFar(rate, None, None, None, smallest)
    accepted = np.rint(curve.far * curve.impostors)
    point = int(np.searchsorted(accepted, allowed, side="right")) - 1
    # Of the points with this FAR the last one has the highest TAR.
    return TarAtFar(
        far=rate,
        tar=float(curve.tar[point]),
        threshold=float(curve.threshold[point]),
        measured_far=float(curve.far[point]),
        smallest_far=smallest,
    )


def thinned(curve: Roc, points: int = 200) -> Roc:
    """Return at most `points` points of the ROC with both ends, spread evenly over log FAR and over TAR.

    No point is invented. Corners of the staircase are kept first: a point between two others on the same
    horizontal or vertical line says nothing more than they do.
    """
    corners = _corners(curve)
    if corners.size > points:
        floor = 0.5 / curve.impostors
        position = np.log10(np.maximum(curve.far[corners], floor)) / -np.log10(floor) + curve.tar[corners]
        targets = np.linspace(position[0], position[-1], points)
        corners = corners[np.unique(np.clip(np.searchsorted(position, targets), 0, corners.size - 1))]
    return Roc(curve.far[corners], curve.tar[corners], curve.threshold[corners], curve.genuine, curve.impostors)


def _corners(curve: Roc) -> NDArray[np.intp]:
    far_step, tar_step = np.diff(curve.far) != 0, np.diff(curve.tar) != 0
    straight = ((far_step[:-1] == far_step[1:]) & (tar_step[:-1] == tar_step[1:])) & (far_step[:-1] != tar_step[:-1])
    return np.flatnonzero(np.concatenate([[True], ~straight, [True]]))
