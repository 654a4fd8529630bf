"""The decision on a compared pair."""

from __future__ import annotations

from dataclasses import dataclass

from oaml_core.inference.ratio import Ratio, RatioInterval
from oaml_core.inference.records import Scores


@dataclass(frozen=True)
class Comparison:
    """The comparison of two faces: scores, threshold and decision.

    Example:
        >>> import oaml_core as oaml
        >>> found = oaml.match(oaml.load_model("model.onnx"), "a.png", "a.png", far=1e-2).comparison
        >>> round(found.global_score, 3)
        1.0
    """

    score: float
    """The score that decides, named by `decided_by`."""
    global_score: float
    """Cosine of the embeddings, image and mirrored image fused, in [-1, 1]."""
    local_score: float | None
    """Matcher's score; None without `model.matcher.onnx`."""
    combined_score: float | None
    """Score by the rule stored in the model; None without the matcher or without metrics."""
    visible_share: float
    """Mean product of both visibilities, in [0, 1]; the lower, the less the score rests on."""
    threshold: float | None
    """Score from which on the pair is accepted at the FAR asked for; None if none was stored for it."""
    same: bool | None
    """The decision; None without a threshold."""
    decided_by: str = "global"
    """`calibrated`, `combined` or `global`."""
    calibrated_score: float | None = None
    """Score by the fusion stored in the model; None without it."""
    log_likelihood_ratio: float | None = None
    """Natural logarithm, same person against different people; None without a fusion."""
    ratio_interval: RatioInterval | None = None
    """95 % interval of `log_likelihood_ratio` over people; None of models that were evaluated without it."""

    @classmethod
    def of(cls, scores: Scores, threshold: float | None) -> Comparison:
        """Return the first of some pairs, decided by `threshold` on the deciding score."""
        name, values = scores.deciding
        score, ratio = float(values[0]), Ratio.of(scores, 0)
        return cls(
            score=score,
            global_score=float(scores.global_score[0]),
            local_score=None if scores.local_score is None else float(scores.local_score[0]),
            combined_score=None if scores.combined_score is None else float(scores.combined_score[0]),
            visible_share=float(scores.visible_share[0]),
            threshold=threshold,
            same=None if threshold is None else score >= threshold,
            decided_by=name,
            calibrated_score=None if scores.calibrated_score is None else float(scores.calibrated_score[0]),
            log_likelihood_ratio=None if ratio is None else ratio.log,
            ratio_interval=None if ratio is None else ratio.interval,
        )
