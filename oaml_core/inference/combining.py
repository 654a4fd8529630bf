"""Global and local score as one: the specification's weighted mean, and the same measured by strangers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.inference.records import FaceRecords
from oaml_core.inference.strangers import Strangers, deviation

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Normalisation:
    """Label-free statistics that bring both scores to zero mean and unit deviation."""

    global_mean: float
    global_std: float
    local_mean: float
    local_std: float

    def apply(self, global_score: Floats, local_score: Floats) -> tuple[Floats, Floats]:
        """Normalised global and local scores, of the shape that they have."""
        return (
            (global_score - self.global_mean) / self.global_std,
            (local_score - self.local_mean) / self.local_std,
        )


@dataclass(frozen=True)
class CombinedRule:
    """The combined score of pairs.

    Without strangers it is the specification's rule: the weighted mean of the normalised scores. With strangers it is
    the weighted mean of both cosines, each divided by its deviation over pairs, measured by both faces' scores with
    strangers: `Strangers.measure`.
    """

    normalisation: Normalisation
    global_weight: float
    local_weight: float
    fallback: bool = False
    """True if the local accuracy was below one half, and the weights are the specification's for that case."""
    strangers: Strangers | None = None
    line: tuple[float, float] = (1.0, 0.0)
    """Scale and shift that make the local score of a local cosine; used with `strangers` alone."""

    @classmethod
    def stored(
        cls,
        rule: Mapping[str, Any],
        strangers: Mapping[str, Any] | None = None,
        line: tuple[float, float] = (1.0, 0.0),
    ) -> CombinedRule:
        """Return the rule that `metrics.json` and exported models hold as `combined`, with their `strangers`.

        Raises:
            ValueError: see `Strangers.stored`.
        """
        known = None if strangers is None else Strangers.stored(strangers)
        return cls(
            Normalisation(**rule["normalisation"]),
            rule["global_weight"],
            rule["local_weight"],
            rule.get("fallback", False),
            known,
            line,
        )

    @classmethod
    def in_model(cls, metadata: Mapping[str, Any]) -> CombinedRule | None:
        """Return the rule of an exported model by its metadata; None: it came without metrics."""
        rule = metadata.get("combined")
        return None if rule is None else cls.stored(rule, metadata.get("strangers"), line_of(metadata))

    def as_json(self) -> dict[str, Any]:
        """Return weights, `fallback` and `normalisation`: what is measured on one set."""
        return {
            "normalisation": asdict(self.normalisation),
            "global_weight": self.global_weight,
            "local_weight": self.local_weight,
            "fallback": self.fallback,
        }

    def of(self, global_score: Floats, local_score: Floats, spreads: tuple[Floats, Floats] | None = None) -> Floats:
        """Return combined scores of global and local ones of any common shape.

        Args:
            global_score: cosines of the embeddings.
            local_score: the matcher's scores.
            spreads: of the first and of the second faces, [..., 3] each, see `Strangers.spread`; needed with
                `strangers`, else not looked at.
        """
        total = self.global_weight + self.local_weight
        if self.strangers is None:
            one, other = self.normalisation.apply(global_score, local_score)
            return (self.global_weight * one + self.local_weight * other) / total
        if spreads is None:
            raise ValueError("The rule measures scores by strangers, and the spreads of the faces were not given.")
        scale, shift = self.line
        of_global = self.global_weight / (total * self.normalisation.global_std)
        of_local = self.local_weight / (total * self.normalisation.local_std)
        plain = of_global * global_score + of_local * (local_score - shift)
        one, other = (deviation(spread, of_global, scale * of_local) for spread in spreads)
        return self.strangers.measure(plain, one, other)


def line_of(metadata: Mapping[str, Any]) -> tuple[float, float]:
    """Return `CombinedRule.line` of an exported model by its metadata; 1 and 0 where it makes no vector of a face."""
    line = metadata.get("local_score")
    return (1.0, 0.0) if line is None else (float(line["scale"]), float(line["shift"]))


def combined_scores_of(
    rule: CombinedRule | None,
    probe: FaceRecords,
    gallery: FaceRecords,
    global_score: Floats,
    local_score: Floats | None,
) -> Floats | None:
    """Return the combined scores of n pairs of faces; None without a rule or without a local score.

    Args:
        rule: of the model that described them.
        probe: of n faces, or of one.
        gallery: of n faces.
        global_score: [n]
        local_score: [n]
    """
    if rule is None or local_score is None:
        return None
    if rule.strangers is None:
        return rule.of(global_score, local_score)
    one, other = (rule.strangers.spread(side.embedding, side.local_embedding) for side in (probe, gallery))
    return rule.of(global_score, local_score, (one, other))
