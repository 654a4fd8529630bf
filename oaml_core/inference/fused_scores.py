"""Scores and ratios of compared faces by a model's fusion, whatever described the faces."""

from __future__ import annotations

from oaml_core.inference.fusion import Evidence, Fusion, pair_quality, region_shares
from oaml_core.inference.records import FaceRecords, Scores


def with_fusion(
    plain: Scores, fusion: Fusion | None, probe: FaceRecords, gallery: FaceRecords, *, decides: bool
) -> Scores:
    """Return scores with the calibrated score, the likelihood ratio and its interval, where they can be had.

    Args:
        plain: global and local scores of n pairs.
        fusion: of the model that described them; None: `plain` is returned as it is, as without a local score.
        probe: of n faces, or of one.
        gallery: of n faces.
        decides: whether the model decides by the calibrated score.
    """
    if fusion is None or plain.local_score is None:
        return plain
    evidence = Evidence(
        plain.global_score,
        plain.local_score,
        region_shares(probe.visibility, gallery.visibility),
        pair_quality(probe.norm, gallery.norm),
    )
    return plain._replace(
        calibrated_score=fusion.score(evidence),
        log_likelihood_ratio=fusion.log_likelihood_ratio(evidence),
        ratio_interval=fusion.ratio_interval(evidence),
        calibrated_decides=decides,
    )
