"""What a pair of faces can still prove: the acceptance rate that the model's evaluation gives for what they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from oaml_core.amounts import amount
from oaml_core.inference.comparer import Comparer

LEAST_TAR = 0.5
"""Expected TAR below which "different people" is not said: most pairs of one person would get that answer too."""
FEWEST = 30
"""Least number of genuine pairs in a bin that anything is said from."""


class ExpectedTar(NamedTuple):
    """Share of genuine pairs that are accepted among those that show as much of the face."""

    low: float
    high: float
    """Ends of the bin of visible share, in [0, 1]."""
    far: float
    """False accept rate of the threshold, on clean pairs."""
    tar: float
    interval: tuple[float, float]
    """95 % interval over people."""
    pairs: int
    """Genuine pairs in the bin."""

    @property
    def enough(self) -> bool:
        """Return True unless the interval's upper end shows that fewer than `LEAST_TAR` are accepted."""
        return self.interval[1] >= LEAST_TAR

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"of pairs of one person that show {100 * self.low:.0f} to {100 * self.high:.0f} % of the face "
            f"{100 * self.tar:.0f} % are accepted ({100 * low:.0f} to {100 * high:.0f} %, {amount(self.pairs, 'pair')})"
        )


class Proof(NamedTuple):
    """A model's evaluation on pairs that show as much of the face as one pair does."""

    expected: ExpectedTar | None = None
    """TAR at the rate that is decided at; None: not known."""
    above: ExpectedTar | None = None
    """TAR of a refused pair at the highest rate that refuses it too: so many pairs of one person score higher."""
    unknown: str = ""
    """What is not known for want of pairs, in words; empty if it is known, or if nothing was evaluated."""

    @property
    def too_weak(self) -> bool:
        """Return True if the pair is refused although most pairs of one person may score as low."""
        return self.above is not None and not self.above.enough

    def __str__(self) -> str:
        if self.expected is None:
            return self.unknown
        if self.above is None or self.above.far == self.expected.far:
            return str(self.expected)
        return f"{self.expected}, and at least {100 * self.above.tar:.0f} % score higher than this pair"


NOTHING_KNOWN = Proof()
"""What is said of a pair by a model that was not evaluated."""


@runtime_checkable
class EvaluatedModel(Protocol):
    """A recogniser that knows how its evaluation went for more and for less visible faces."""

    def by_visible_share(self, score: str) -> Sequence[Mapping[str, Any]]:
        """Return the bins of `metrics.json` for a score; empty if nothing was measured."""
        ...


def expected_tar(model: object, score: str, visible_share: float, far: float) -> ExpectedTar | None:
    """Return what the model's evaluation says of pairs like this one.

    Args:
        model: recogniser; one that is not `EvaluatedModel` gives None.
        score: name of the deciding score.
        visible_share: mean product of both visibilities, in [0, 1].
        far: false accept rate that is decided at.

    Returns:
        None if the evaluation has fewer than `FEWEST` such pairs, or not this rate.
    """
    found = (_measured(one) for one in _bins(model, score, visible_share) if np.isclose(one["far"], far))
    return next(found, None)


def proof_of(model: Comparer, score: str, value: float, visible_share: float, far: float) -> Proof:
    """Return what the model's evaluation says of pairs like this one.

    A pair whose score lies below the thresholds of several rates is compared with the lowest of them: the share of
    genuine pairs above that one score higher, and the more there are, the more it says that this pair does not.

    Args:
        model: recogniser; of one that is not `EvaluatedModel` nothing is said.
        score: name of the deciding score.
        value: the pair's score.
        visible_share: mean product of both visibilities, in [0, 1].
        far: false accept rate that is decided at.
    """
    inside = _bins(model, score, visible_share)
    here = next((one for one in inside if np.isclose(one["far"], far)), None)
    if here is None:
        return NOTHING_KNOWN
    expected = _measured(here)
    if expected is None:
        return Proof(
            unknown=f"how many pairs of one person that show {100 * here['low']:.0f} to {100 * here['high']:.0f} % of "
            f"the face are accepted is not known ({here['genuine']} were measured, {FEWEST} are the least)"
        )
    refused = {one["far"]: one for one in inside if _is_below(value, model.threshold(one["far"], score))}
    own = model.threshold(far, score)
    if not refused or own is None or value >= own:
        return Proof(expected)
    return Proof(expected, _measured(refused[max(refused)]))


def proofs_of_face(model: object, score: str, visible_share: float) -> list[ExpectedTar]:
    """Return what the evaluation says of one face compared with a wholly visible one, at every rate.

    Args:
        model: recogniser.
        score: name of the deciding score.
        visible_share: of the face, in [0, 1].
    """
    found = (_measured(one) for one in _bins(model, score, visible_share))
    return [one for one in found if one is not None]


def _bins(model: object, score: str, visible_share: float) -> list[Mapping[str, Any]]:
    """Return the bins of all rates that a visible share lies in."""
    if not isinstance(model, EvaluatedModel):
        return []
    share = min(1.0, max(0.0, visible_share))
    return [
        one for one in model.by_visible_share(score) if one["low"] <= share < one["high"] or share == one["high"] == 1
    ]


def _measured(one: Mapping[str, Any]) -> ExpectedTar | None:
    """Return what was measured in a bin; None with fewer than `FEWEST` pairs."""
    if one["tar"] is None or one["genuine"] < FEWEST:
        return None
    interval = (float(one["tar_interval"][0]), float(one["tar_interval"][1]))
    return ExpectedTar(one["low"], one["high"], one["far"], one["tar"], interval, one["genuine"])


def _is_below(value: float, threshold: float | None) -> bool:
    return threshold is not None and value < threshold
