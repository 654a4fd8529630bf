"""Two image files compared: what `oaml match A.jpg B.jpg` prints and draws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from oaml_core.inference.compared_pair import DrawablePair, drawable_pair
from oaml_core.inference.comparer import Comparer, without_threshold
from oaml_core.inference.decision import Comparison
from oaml_core.inference.face_files import load_face
from oaml_core.inference.photo_records import describe, remark
from oaml_core.inference.proof import NOTHING_KNOWN, Proof
from oaml_core.inference.ratio import Ratio
from oaml_core.inference.records import FaceRecords
from oaml_core.inference.verdict import judge_pair
from oaml_core.photos.faces import FaceFinder
from oaml_core.photos.photo_face import PhotoFace


@dataclass(frozen=True)
class MatchResult:
    """The result of comparing two faces."""

    comparison: Comparison
    far: float
    """False accept rate that was asked for."""
    rates: list[float]
    """False accept rates that the model has thresholds for."""
    pair: DrawablePair
    faces: tuple[PhotoFace, PhotoFace] | None = None
    """Places of both faces; None for images that were taken for aligned faces."""
    undecidable: str = ""
    """Why there is no decision in spite of a threshold; empty if nothing stands against one."""
    proof: Proof = NOTHING_KNOWN
    """What the model's evaluation says of pairs that show as much."""
    records: tuple[FaceRecords, ...] = ()
    """Descriptions of both faces."""

    def __str__(self) -> str:
        found = self.comparison
        local = "" if found.local_score is None else f", local {found.local_score:.2f}"
        shown = f"global {found.global_score:.3f}{local}"
        if self.tells_cover:
            shown += f", {100 * found.visible_share:.0f} % visible in both"
        if found.log_likelihood_ratio is not None:
            shown += f"; {Ratio(found.log_likelihood_ratio, found.ratio_interval)}"
        if self.undecidable:
            return f"cannot decide: {self.undecidable}; {shown}"
        if found.same is None:
            return f"{shown}; {without_threshold(self.far, self.rates)}"
        answer = "same person" if found.same else "different people"
        shown += f"; {self.proof}" if str(self.proof) else ""
        return (
            f"{answer}: {found.decided_by} {found.score:.3f} {'≥' if found.same else '<'} {found.threshold:.3f} "
            f"(FAR {self.far:g}); {shown}"
        )

    @property
    def tells_cover(self) -> bool:
        """Return True if the model looked at what is covered."""
        return all(each.tell_cover for each in self.records)

    def remarks(self) -> list[str]:
        """Return a line per photograph: how its face was found, and what is amiss or covered."""
        return [] if self.faces is None else [remark(*one) for one in zip(self.faces, self.records, strict=True)]


def match_files(
    model: Comparer, first: str | Path, second: str | Path, *, far: float, finder: FaceFinder | None = None
) -> MatchResult:
    """Compare the faces in two files.

    Args:
        model: recogniser with thresholds.
        first: photograph; without a finder a square image of an aligned face.
        second: the same.
        far: false accept rate whose threshold decides.
        finder: finds and aligns the main face of each photograph; None: the images are aligned faces.

    Raises:
        ModelInputError: a file is missing or unreadable, or shows no face; without a finder: is not square.

    Example:
        >>> import oaml_core as oaml
        >>> found = oaml.match(oaml.load_model("model.onnx"), "a.png", "b.png", far=1e-2)
        >>> -1 <= found.comparison.global_score <= 1
        True
    """
    if finder is None:
        faces = None
        images = load_face(first, model.image_size), load_face(second, model.image_size)
        both = model.records(np.stack(images))
        one, other = (both.rows(slice(row, row + 1)) for row in (0, 1))
    else:
        (face, one), (another, other) = (describe(model, finder, Path(path)) for path in (first, second))
        faces, images = (face, another), (face.image, another.image)
    scores = model.scores(one, other)
    name, _ = scores.deciding
    comparison = Comparison.of(scores, model.threshold(far, name))
    verdict = judge_pair(model, name, comparison.score, comparison.visible_share, far, faces or ())
    comparison = replace(comparison, same=verdict.same)
    rates = list(model.thresholds(name))
    pair = drawable_pair(images, (one, other))
    return MatchResult(comparison, far, rates, pair, faces, verdict.reason, verdict.proof, (one, other))
