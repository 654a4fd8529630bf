"""How sure a difference between two scores on the same pairs is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from oaml_core.evaluation.protocols import Bools

RESAMPLES = 10_000
LEVEL = 0.95


class Interval(NamedTuple):
    """A difference of accuracies and its bootstrap interval, all as shares in [-1, 1]."""

    difference: float
    low: float
    high: float


def paired_interval(ours: Bools, theirs: Bools, generator: np.random.Generator) -> Interval:
    """Accuracy of `ours` less that of `theirs`, with the 95 % percentile interval of a bootstrap over pairs.

    Only three kinds of pairs matter: right by ours alone, by theirs alone, and alike. A resample of the pairs is a
    multinomial draw of the three counts, so no pair is ever copied. Pairs that share a person are not independent;
    where many do, the true interval is wider.

    Args:
        ours: [N], whether one score decided each pair rightly.
        theirs: [N], the same of the score it is compared with.
        generator: of the resamples.
    """
    gained, lost = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    counts = np.array([gained, lost, ours.size - gained - lost])
    draws = generator.multinomial(ours.size, counts / ours.size, RESAMPLES)
    differences = (draws[:, 0] - draws[:, 1]) / ours.size
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval((gained - lost) / ours.size, float(low), float(high))
