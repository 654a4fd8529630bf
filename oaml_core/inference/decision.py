"""The decision on a compared pair."""

from __future__ import annotations

from dataclasses import dataclass

from oaml_core.inference.records import Scores


@dataclass(frozen=True)
class Comparison:
    """Two faces compared."""

    score: float
    """The score that decides: `combined_score` if there is one, else `global_score`."""
    global_score: float
    """Cosine of the embeddings, image and mirrored image fused, in [-1, 1]."""
    local_score: float | None
    """Matcher's score; None without `model.matcher.onnx`."""
    combined_score: float | None
    """By the rule stored in the model; None without the matcher or without metrics."""
    visible_share: float
    """Mean product of both visibilities, in [0, 1]; the lower, the less the score rests on."""
    threshold: float | None
    """Score from which on the pair is accepted at the FAR asked for; None if none was stored for it."""
    same: bool | None
    """The decision; None without a threshold."""

    @classmethod
    def of(cls, scores: Scores, threshold: float | None) -> Comparison:
        """The first of some pairs, decided by `threshold` on the deciding score."""
        score = float(scores.deciding[1][0])
        return cls(
            score=score,
            global_score=float(scores.global_score[0]),
            local_score=None if scores.local_score is None else float(scores.local_score[0]),
            combined_score=None if scores.combined_score is None else float(scores.combined_score[0]),
            visible_share=float(scores.visible_share[0]),
            threshold=threshold,
            same=None if threshold is None else score >= threshold,
        )
