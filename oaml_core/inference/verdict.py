"""The decision on a pair of faces, with what stands against one: the same rule wherever faces are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oaml_core.inference.comparer import Comparer
from oaml_core.inference.photo_records import reason_against
from oaml_core.inference.proof import NOTHING_KNOWN, Proof, proof_of
from oaml_core.photos.photo_face import PhotoFace


@dataclass(frozen=True)
class Verdict:
    """The decision on a pair, and what the model's evaluation says of such pairs."""

    same: bool | None
    """The decision; None without a threshold, or if nothing may be decided."""
    reason: str = ""
    """Why there is no decision in spite of a threshold; empty if nothing stands against one."""
    proof: Proof = NOTHING_KNOWN
    """What the model's evaluation says of pairs that show as much."""


def judge_pair(
    model: Comparer, score: str, value: float, visible_share: float, far: float, faces: Sequence[PhotoFace] = ()
) -> Verdict:
    """Decide on a pair, unless too little speaks for a decision.

    "Different people" is withdrawn if most pairs of one person that show as much may score as low. "Same person" is
    not: its errors are what the false accept rate limits.

    Args:
        model: recogniser.
        score: name of the deciding score.
        value: the pair's score.
        visible_share: mean product of both visibilities, in [0, 1].
        far: false accept rate whose threshold decides.
        faces: where the faces were found, as far as that is known; too small ones are not decided on.
    """
    threshold = model.threshold(far, score)
    if threshold is None:
        return Verdict(None)
    same = value >= threshold
    proof = proof_of(model, score, value, visible_share, far)
    reason = reason_against(faces, visible_share) if faces else ""
    if not reason and proof.too_weak:
        reason = f"{proof.above} at FAR {proof.above.far:g}, too few to tell different people" if proof.above else ""
    return Verdict(None if reason else same, reason, proof)
