"""What a pair of faces can still prove: the acceptance rate that the model's evaluation gives for what they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

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
        """True unless it is plain that fewer than `LEAST_TAR` are accepted: the interval's upper end decides."""
        return self.interval[1] >= LEAST_TAR

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"of pairs of one person that show {100 * self.low:.0f} to {100 * self.high:.0f} % of the face "
            f"{100 * self.tar:.0f} % are accepted ({100 * low:.0f} to {100 * high:.0f} %, {self.pairs} pairs)"
        )


@runtime_checkable
class Evaluated(Protocol):
    """A recogniser that knows how its evaluation went for more and for less visible faces."""

    def by_visible_share(self, score: str) -> Sequence[Mapping[str, Any]]:
        """Return the bins of `metrics.json` for a score; empty if nothing was measured."""
        ...


def expected_tar(model: object, score: str, visible_share: float, far: float) -> ExpectedTar | None:
    """Return what the model's evaluation says of pairs like this one.

    Args:
        model: recogniser; one that is not `Evaluated` gives None.
        score: name of the deciding score.
        visible_share: mean product of both visibilities, in [0, 1].
        far: false accept rate that is decided at.

    Returns:
        None if the evaluation has fewer than `FEWEST` such pairs, or not this rate.
    """
    if not isinstance(model, Evaluated):
        return None
    for one in model.by_visible_share(score):
        inside = one["low"] <= visible_share < one["high"] or visible_share == one["high"] == 1
        if inside and np.isclose(one["far"], far) and one["tar"] is not None and one["genuine"] >= FEWEST:
            interval = (float(one["tar_interval"][0]), float(one["tar_interval"][1]))
            return ExpectedTar(one["low"], one["high"], one["far"], one["tar"], interval, one["genuine"])
    return None
