"""Two image files compared: what `oaml match A.jpg B.jpg` prints and draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from oaml_core.errors import EvaluationError
from oaml_core.evaluation.combine import CombinedRule, Normalisation
from oaml_core.evaluation.compared_pair import compare_pair
from oaml_core.evaluation.drawing import save_pair
from oaml_core.evaluation.face_files import load_face
from oaml_core.models.recogniser import Recogniser


@dataclass(frozen=True)
class Operating:
    """How a trained model's scores become a decision, from its `metrics.json`."""

    rule: CombinedRule
    threshold: float
    """On the combined score; a pair at or above it is accepted."""
    far: float
    """False accept rate that was measured at that threshold on clean pairs."""

    @classmethod
    def from_metrics(cls, metrics: Mapping[str, Any], far: float = 1e-3) -> Operating:
        """The operating point of the first verification set's clean pairs.

        Args:
            metrics: content of `metrics.json`.
            far: rate wanted; where the pairs were too few to measure it, the smallest measured one is taken.

        Raises:
            EvaluationError: the metrics hold no set or no measurable rate.
        """
        found = next(iter(metrics.get("sets", {}).values()), None)
        points = found and found["conditions"]["clean"]["scores"]["combined"]["tar_at_far"]
        measured = [point for point in points or [] if point["measurable"]]
        if found is None or not measured:
            raise EvaluationError(
                "metrics.json holds no verification set with a measurable FAR, so there is no threshold to decide "
                "by. Run `oaml evaluate` with more pairs or a larger evaluate.far."
            )
        sufficient = [point for point in measured if point["far"] <= far * (1 + 1e-9)]
        point = max(sufficient, key=lambda p: p["far"]) if sufficient else min(measured, key=lambda p: p["far"])
        stored = dict(found["combined"])
        rule = CombinedRule(Normalisation(**stored.pop("normalisation")), **stored)
        return cls(rule, float(point["threshold"]), float(point["measured_far"]))


@dataclass(frozen=True)
class MatchResult:
    """What was found about two faces."""

    global_score: float
    """Cosine of the embeddings, in [-1, 1]."""
    local_score: float
    """Matcher's score."""
    combined_score: float | None
    """None without an operating point."""
    visible_share: float
    """Mean product of both visibility maps, in [0, 1]."""
    operating: Operating | None
    picture: Path | None
    """Where the picture was written."""

    @property
    def same(self) -> bool | None:
        """The decision; None without an operating point."""
        if self.operating is None or self.combined_score is None:
            return None
        return self.combined_score >= self.operating.threshold

    def __str__(self) -> str:
        scores = f"global {self.global_score:.3f}, local {self.local_score:.2f}"
        visible = f"{100 * self.visible_share:.0f} % visible in both"
        if self.operating is None or self.combined_score is None:
            return f"{scores}, {visible}; no metrics.json, so no combined score and no decision"
        answer = "same person" if self.same else "different people"
        return (
            f"{answer}: combined {self.combined_score:.3f}, threshold {self.operating.threshold:.3f} "
            f"(FAR {self.operating.far:.2g}); {scores}, {visible}"
        )


def match_images(
    model: Recogniser,
    a: Path,
    b: Path,
    out: Path | None = None,
    *,
    metrics: Mapping[str, Any] | None = None,
    far: float = 1e-3,
    image_size: int = 112,
    device: torch.device | str = "cpu",
) -> MatchResult:
    """Compare the aligned faces in two files.

    Args:
        model: recogniser, on `device`.
        a: image file; square, aligned.
        b: image file; square, aligned.
        out: where to draw the pair with visibility maps and correspondences; None: nowhere.
        metrics: content of the model's `metrics.json`; without it there is neither combined score nor decision.
        far: false accept rate to decide at, see `Operating.from_metrics`.
        image_size: side in pixels that the model takes.
        device: where the model is.

    Raises:
        ModelInputError: a file is missing, unreadable or not square.
        EvaluationError: see `Operating.from_metrics`.
    """
    operating = None if metrics is None else Operating.from_metrics(metrics, far)
    first, second = (torch.from_numpy(load_face(path, image_size).copy()).permute(2, 0, 1) for path in (a, b))
    pair = compare_pair(model, first, second, device)
    result = MatchResult(
        global_score=float(pair.scores.global_score[0]),
        local_score=float(pair.scores.local_score[0]),
        combined_score=None if operating is None else float(operating.rule(pair.scores)[0]),
        visible_share=float(pair.scores.visible_share[0]),
        operating=operating,
        picture=out,
    )
    if out is not None:
        save_pair(pair, out, str(result).replace("; ", "\n"))
    return result
