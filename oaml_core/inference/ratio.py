"""A likelihood ratio with its interval, as one value and in words."""

from __future__ import annotations

import math
from typing import NamedTuple

from oaml_core.inference.records import Scores

LARGEST = 1e6
"""Ratio beyond which words say no number."""


RatioInterval = tuple[float | None, float | None]
"""95 % interval of a ratio's logarithm over the people of the evaluation. An end that is None is open: so few people
cannot show it."""


class Ratio(NamedTuple):
    """How much more often such evidence occurs with one person than with different people, as natural logarithms."""

    log: float
    interval: RatioInterval | None
    """None: it was not measured."""

    @classmethod
    def of(cls, scores: Scores, row: int) -> Ratio | None:
        """Return the ratio of one of the compared pairs; None without a fusion."""
        if scores.log_likelihood_ratio is None:
            return None
        found = None
        if scores.ratio_interval is not None:
            low, high = (float(end) if math.isfinite(end) else None for end in scores.ratio_interval[row])
            found = low, high
        return cls(float(scores.log_likelihood_ratio[row]), found)

    def __str__(self) -> str:
        """Return for instance `likelihood ratio 240 (95 % interval 90 to 650)`, with `1/240` for ratios below 1."""
        said = f"likelihood ratio {_ratio(self.log)}"
        if self.interval is None:
            return said
        low, high = self.interval
        if low is None:
            return f"{said} (at most {_ratio(high)})" if high is not None else f"{said} (not measurable)"
        if high is None:
            return f"{said} (at least {_ratio(low)})"
        return f"{said} (95 % interval {_ratio(low)} to {_ratio(high)})"


def _ratio(log: float) -> str:
    if abs(log) > math.log(LARGEST):
        return f"above {LARGEST:,.0f}" if log > 0 else f"below 1/{LARGEST:,.0f}"
    times = math.exp(abs(log))
    shown = f"{times:.1f}" if times < 9.95 else f"{times:,.0f}"
    return f"1/{shown}" if log < 0 and shown != "1.0" else shown
