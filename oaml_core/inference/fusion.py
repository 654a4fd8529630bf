"""Everything that speaks for or against a pair, weighed into one number: numpy alone.

The evidence of a pair is its global and local score, the share of each region of the face that is visible in both
images, and the quality of the worse image. Two numbers come of it:

- `log_likelihood_ratio`: log p(evidence | same person) / p(evidence | different people), a logistic regression. The
  slopes of both scores depend on what is visible and are never negative, so a higher score never speaks against a pair.
- `score`: the same, measured against impostors of the same visibility and quality: (llr − location) / scale of theirs.
  A threshold on the ratio alone accepts more impostors the less is visible, for the ratio of covered faces is spread
  less. On this scale one threshold asks for the same false accept rate whatever covers the face.

The ratio has a 95 % interval: how far it would lie had other people been evaluated. Its ends are those of a normal
variable, ratio ± 1.96 · √(xᵀ V x), where V is the weights' covariance over people
(`oaml_core.evaluation.scoring.ratio_spread`). A ratio that is larger than so few people can show gives an open end: of
n people nobody of whom does something, at most 3 in n do (95 %; Hanley and Lippman-Hand, JAMA 249(13), 1983), so
nothing above n/3 is told apart. The interval is that of the people; it holds no doubt about the form of the regression,
nor about photographs of another kind than those evaluated.

Training fits a `Fusion` (`oaml_core.evaluation.scoring.fuse`); it travels in the exported model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount

Floats = NDArray[np.float64]

BANDS = {"forehead": (0.0, 0.33), "eyes": (0.33, 0.57), "nose": (0.57, 0.74), "mouth": (0.74, 1.0)}
"""Rows of an aligned face, as shares of its height, by region: eyes at 0.46, nose at 0.64, mouth at 0.82."""
REGIONS = tuple(BANDS)
FREE = 1 + len(REGIONS) + 1
"""Weights of any sign: intercept, visible share of each region, quality."""
SLOPES = 2 * len(REGIONS) + 1
"""Slopes, never negative, of each score: per region visible and hidden, and quality."""
WEIGHTS = FREE + 2 * SLOPES
"""Weights of the ratio."""
ROOT = WEIGHTS * (WEIGHTS + 1) // 2
"""Numbers of a triangle of theirs."""
NORMAL = 1.959964
"""Deviations of a normal variable to either end of its 95 % interval."""
NONE_SEEN = 3.0
"""Events that may be expected, at 95 %, of which none was seen (−ln 0.05)."""
QUALITY_RANGE = 3.0
"""Deviations from the mean beyond which quality makes no further difference."""


class Evidence(NamedTuple):
    """The evidence on n pairs; all [n] but `regions`."""

    global_score: Floats
    """Cosine of the embeddings."""
    local_score: Floats
    """Score of the matcher."""
    regions: Floats
    """[n, 4], mean over each of `REGIONS` of the product of both visibilities, in [0, 1]."""
    quality: Floats
    """Logarithm of the smaller of both embeddings' norms; NaN where it is not known, taken for the mean."""


def region_weights(rows: int) -> NDArray[np.float64]:
    """Return [4, rows]: the share of each region's area in each of the `rows` rows of a map. Each region's shares sum
    to 1."""
    edges = np.arange(rows + 1) / rows
    overlap = [np.minimum(edges[1:], low_high[1]) - np.maximum(edges[:-1], low_high[0]) for low_high in BANDS.values()]
    weights = np.clip(np.stack(overlap), 0.0, None)
    return np.asarray(weights / weights.sum(1, keepdims=True))


def region_shares(first: NDArray[np.floating], second: NDArray[np.floating]) -> Floats:
    """Return [n, 4] visible share per region of n pairs, from maps [n, 1, h, w] in [0, 1]; one of a single face
    repeats.
    """
    rows = (first.astype(np.float64) * second).mean((1, 3))
    return np.asarray(rows @ region_weights(rows.shape[1]).T)


def pair_quality(first: NDArray[np.floating], second: NDArray[np.floating]) -> Floats:
    """Return quality [n] of the worse image of each pair, from norms [n] or [1]; [1] of NaN where norms are not
    known."""
    if not first.size or not second.size:
        return np.full(1, np.nan)
    result: Floats = np.log(np.maximum(np.minimum(first.astype(np.float64), second), 1e-6))
    return result


@dataclass(frozen=True)
class Fusion:
    """Fitted weights, in units of normalised evidence."""

    global_mean: float
    global_std: float
    local_mean: float
    local_std: float
    quality_mean: float
    quality_std: float
    free: tuple[float, ...]
    """[FREE] weights of `context`."""
    global_slopes: tuple[float, ...]
    """[SLOPES], ≥ 0, of the products of the global score with `slope_basis`."""
    local_slopes: tuple[float, ...]
    """[SLOPES], ≥ 0, likewise."""
    impostor_location: tuple[float, ...]
    """[FREE] weights of `context` for the mean of impostors' log-likelihood ratios."""
    impostor_log_scale: tuple[float, ...]
    """[FREE] weights of `context` for the logarithm of their upper spread."""
    covariance_root: tuple[float, ...] = ()
    """[ROOT] triangle L of the covariance L·Lᵀ of the ratio's weights over people, row by row; empty: the model was
    evaluated before it was measured, and ratios have no interval."""
    people: tuple[float, ...] = ()
    """People that ratios below 1 and above 1 rest on: of genuine pairs, and of impostor pairs, or these pairs if they
    are fewer; empty likewise."""

    def __post_init__(self) -> None:
        """Raise ValueError if a part has not the length that it is meant to have."""
        lengths = {
            "free": (FREE,),
            "global_slopes": (SLOPES,),
            "local_slopes": (SLOPES,),
            "impostor_location": (FREE,),
            "impostor_log_scale": (FREE,),
            "covariance_root": (0, ROOT),
            "people": (2 if self.covariance_root else 0,),
        }
        for name, allowed in lengths.items():
            found = len(getattr(self, name))
            if found not in allowed:
                raise ValueError(f"{name} has {amount(found, 'number')}, not {allowed[-1]}")

    @classmethod
    def stored(cls, content: Mapping[str, Any]) -> Fusion:
        """Return the fusion that `metrics.json` and exported models hold.

        Raises:
            TypeError: it lacks a part, or one is no list. ValueError: a part has another length.
        """
        weights: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in content.items()
        }
        return cls(**weights)

    def as_json(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def log_likelihood_ratio(self, evidence: Evidence) -> Floats:
        """Return natural logarithms [n] of the likelihood ratio; above 0 the evidence speaks for the same person."""
        weights = np.concatenate([self.free, self.global_slopes, self.local_slopes])
        return np.asarray(self.regressors(evidence) @ weights)

    def ratio_interval(self, evidence: Evidence) -> Floats | None:
        """Return 95 % intervals [n, 2] of `log_likelihood_ratio` over people; None if they were not measured.

        An end is -∞ or ∞ where the ratio lies beyond what so many people can show. The other end then lies no
        further out than that.
        """
        if not self.covariance_root:
            return None
        root = np.zeros((WEIGHTS, WEIGHTS))
        root[np.tril_indices(WEIGHTS)] = self.covariance_root
        away = NORMAL * np.linalg.norm(self.regressors(evidence) @ root, axis=1)
        ratio = self.log_likelihood_ratio(evidence)
        lowest, highest = np.array([-1.0, 1.0]) * np.log(np.maximum(np.array(self.people) / NONE_SEEN, 1.0))
        low, high = ratio - away, ratio + away
        return np.stack(
            [
                np.where(low < lowest, -np.inf, np.minimum(low, highest)),
                np.where(high > highest, np.inf, np.maximum(high, lowest)),
            ],
            axis=1,
        )

    def score(self, evidence: Evidence) -> Floats:
        """Return log-likelihood ratios [n] in deviations of impostors of the same visibility and quality."""
        context = self.context(evidence)
        location = context @ np.array(self.impostor_location)
        scale = np.exp(context @ np.array(self.impostor_log_scale))
        return np.asarray((self.log_likelihood_ratio(evidence) - location) / scale)

    def context(self, evidence: Evidence) -> Floats:
        """Return [n, FREE]: 1, visible share of each region, normalised quality."""
        visible = np.clip(evidence.regions, 0.0, 1.0)
        return np.concatenate([np.ones((len(visible), 1)), visible, self._quality(evidence)[:, None]], axis=1)

    def regressors(self, evidence: Evidence) -> Floats:
        """Return [n, FREE + 2 · SLOPES]: the context, and each normalised score times `slope_basis`."""
        context = self.context(evidence)
        visible, quality = context[:, 1:-1], context[:, -1:]
        basis = np.concatenate([visible, 1.0 - visible, (quality / QUALITY_RANGE + 1.0) / 2.0], axis=1)
        one = (evidence.global_score - self.global_mean) / self.global_std
        other = (evidence.local_score - self.local_mean) / self.local_std
        return np.concatenate([context, one[:, None] * basis, other[:, None] * basis], axis=1)

    def _quality(self, evidence: Evidence) -> Floats:
        normalised = (evidence.quality - self.quality_mean) / self.quality_std
        bounded = np.clip(np.nan_to_num(normalised, nan=0.0), -QUALITY_RANGE, QUALITY_RANGE)
        return np.broadcast_to(bounded, evidence.global_score.shape)
