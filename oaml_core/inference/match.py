"""Two image files compared: what `oaml match A.jpg B.jpg` prints and draws."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oaml_core.inference.compared_pair import DrawablePair, drawable_pair
from oaml_core.inference.comparer import Comparer, without_threshold
from oaml_core.inference.decision import Comparison
from oaml_core.inference.face_files import load_face
from oaml_core.inference.records import FaceRecords


@dataclass(frozen=True)
class MatchResult:
    """What was found about two faces."""

    comparison: Comparison
    far: float
    """False accept rate that was asked for."""
    rates: list[float]
    """Those that the model has thresholds for."""
    pair: DrawablePair

    def __str__(self) -> str:
        found = self.comparison
        local = "" if found.local_score is None else f", local {found.local_score:.2f}"
        shown = f"global {found.global_score:.3f}{local}, {100 * found.visible_share:.0f} % visible in both"
        if found.same is None:
            return f"{shown}; {without_threshold(self.far, self.rates)}"
        answer = "same person" if found.same else "different people"
        return (
            f"{answer}: {found.decided_by} {found.score:.3f} {'≥' if found.same else '<'} {found.threshold:.3f} "
            f"(FAR {self.far:g}); {shown}"
        )


def match_files(model: Comparer, first: Path, second: Path, *, far: float) -> MatchResult:
    """Compare the aligned faces in two files.

    Args:
        model: recogniser with thresholds.
        first: image file; square, aligned.
        second: image file; square, aligned.
        far: false accept rate whose threshold decides.

    Raises:
        ModelInputError: a file is missing, unreadable or not square.
    """
    faces = load_face(first, model.image_size), load_face(second, model.image_size)
    both = model.records(np.stack(faces))
    one, other = (FaceRecords(*(part[row : row + 1] for part in both)) for row in (0, 1))
    scores = model.scores(one, other)
    name, _ = scores.deciding
    comparison = Comparison.of(scores, model.threshold(far, name))
    return MatchResult(comparison, far, list(model.thresholds(name)), drawable_pair(faces, (one, other)))
