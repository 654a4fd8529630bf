"""Compare what was measured of two data sets: population stability index with its interval, and a two-sample test.

The population stability index (PSI) over the deciles of the reference is Σ (p − q) ln(p / q). Two samples of the same
population have a PSI of about (bins − 1)(1/n + 1/m), which is subtracted (Yurdakul 2018, "Statistical Properties of
Population Stability Index").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oaml_core.data.drift.measures import Measured

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
BINS = 10
RESAMPLED = 400
LEAST = 100
"""Values on both sides below which nothing is said of a measure."""
NOTABLE = 0.1


@dataclass(frozen=True)
class Drift:
    """The difference in one measure between a reference and tonight's faces."""

    measure: str
    reference_median: float
    median: float
    stability_index: float
    """Population stability index without what chance alone gives, 0 or more."""
    low: float
    high: float
    """Its 95 % interval, by resampling faces on both sides."""
    ks: float
    """Largest distance of the two distribution functions (Kolmogorov and Smirnov), in [0, 1]."""
    p_value: float
    """Probability of such a distance if both are samples of one population."""

    def is_shift(self, largest: float) -> bool:
        """Return True if the whole interval lies above `largest`."""
        return self.low > largest


def compare_measures(reference: Measured, tonight: Measured, seed: int = 0) -> list[Drift]:
    """Compare all measures that enough faces of both data sets have, the largest difference first."""
    found = []
    for name in reference:
        one, two = (_finite(each.get(name)) for each in (reference, tonight))
        if min(len(one), len(two)) >= LEAST:
            found.append(_compare(name, one, two, np.random.default_rng(seed)))
    return sorted(found, key=lambda each: -each.stability_index)


def table(found: list[Drift], largest: float) -> str:
    """Format the differences as a Markdown table."""
    head = "| measure | reference | tonight | PSI (95 %) | KS | p | |\n|---|---|---|---|---|---|---|"
    rows = [
        f"| {d.measure} | {d.reference_median:.3g} | {d.median:.3g} | {d.stability_index:.3f} "
        f"({d.low:.3f} … {d.high:.3f}) | {d.ks:.3f} | {d.p_value:.2g} | {_word(d, largest)} |"
        for d in found
    ]
    return "\n".join([head, *rows])


def _word(drift: Drift, largest: float) -> str:
    if drift.is_shift(largest):
        return "**shifted**"
    return "moved" if drift.stability_index > NOTABLE and drift.low > 0 else "same"


def _finite(values: Floats | None) -> Floats:
    return np.empty(0) if values is None else values[np.isfinite(values)]


def _compare(name: str, one: Floats, two: Floats, generator: np.random.Generator) -> Drift:
    from scipy.stats import ks_2samp

    edges = _edges(one)
    first, second = (np.bincount(np.searchsorted(edges, v, side="left"), minlength=len(edges) + 1) for v in (one, two))
    chance = len(edges) * (1 / len(one) + 1 / len(two))
    drawn = _index(_redrawn(first, generator), _redrawn(second, generator)) - 2 * chance
    low, high = np.quantile(drawn, [0.025, 0.975])
    test = ks_2samp(one, two)
    return Drift(
        name,
        float(np.median(one)),
        float(np.median(two)),
        max(0.0, float(_index(first[None], second[None])[0]) - chance),
        max(0.0, float(low)),
        max(0.0, float(high)),
        float(test.statistic),
        float(test.pvalue),
    )


def _edges(values: Floats) -> Floats:
    """Return where bins end: at the deciles, and below a value that a tenth or more of the faces share.

    A bin of the shared value alone tells smaller ones from it, where all faces of a reference have the same.
    """
    deciles = np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])
    found, times = np.unique(deciles, return_counts=True)
    shared = found[(times > 1) | (found == values.min())]
    edges: Floats = np.union1d(found, np.nextafter(shared, -np.inf))
    return edges


def _redrawn(counts: Counts, generator: np.random.Generator) -> Counts:
    """Return counts [RESAMPLED, bins] of samples drawn with replacement."""
    total = int(counts.sum())
    drawn: Counts = generator.multinomial(total, counts / total, size=RESAMPLED)
    return drawn


def _index(first: Counts, second: Counts) -> Floats:
    """PSI of counts [n, bins]; half a face is added to every bin, so that empty ones stay finite."""
    p, q = ((each + 0.5) / (each + 0.5).sum(axis=1, keepdims=True) for each in (first, second))
    found: Floats = ((p - q) * np.log(p / q)).sum(axis=1)
    return found
