"""A checkpoint behind the methods of `OamlOnnx`, so that faces are identified by either."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from oaml_core.evaluation.scoring.face_features import (
    CPU_BATCH,
    FaceFeatures,
    face_features,
    local_pair_scores,
)
from oaml_core.evaluation.scoring.stranger_faces import local_line
from oaml_core.inference.combining import CombinedRule, combined_scores_of
from oaml_core.inference.fused_scores import with_fusion
from oaml_core.inference.fusion import Fusion
from oaml_core.inference.records import FaceRecords, Scores
from oaml_core.models.modes import evaluating
from oaml_core.models.recogniser import Recogniser


class CheckpointComparer:
    """Describes and compares faces with a trained recogniser on the CPU.

    Args:
        model: recogniser.
        image_size: side in pixels that it takes.
        metrics: content of its `metrics.json`, whose first verification set gives rule and thresholds; None: neither
            combined score nor threshold.
        saw_cutouts: whether it was trained on faces under real cut-outs.
        weights: of global and local score in the combined one, as its configuration has them; None: not known.
        lacks_strangers: whether its configuration measures combined scores by strangers, and no `metrics` hold them.
    """

    def __init__(
        self,
        model: Recogniser,
        image_size: int,
        metrics: Mapping[str, Any] | None = None,
        *,
        saw_cutouts: bool = False,
        weights: tuple[float, float] | None = None,
        lacks_strangers: bool = False,
    ) -> None:
        self.model = model
        self.saw_cutouts, self.weights, self.lacks_strangers = saw_cutouts, weights, lacks_strangers
        self._image_size = image_size
        self._set = next(iter((metrics or {}).get("sets", {}).values()), None)
        strangers = (metrics or {}).get("strangers")
        self.rule = (
            None if self._set is None else CombinedRule.stored(self._set["combined"], strangers, local_line(model))
        )
        """How global and local score are combined; None: the model was not evaluated."""
        fusion = None if self._set is None else self._set.get("fusion")
        self._fusion = None if fusion is None else Fusion.stored(fusion)

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""
        return self._image_size

    @property
    def local_line(self) -> tuple[float, float]:
        """Scale and shift that make the local score of a local cosine; see `local_line`."""
        return local_line(self.model)

    def records(self, images: NDArray[np.uint8]) -> FaceRecords:
        """Describe faces, uint8 [n, H, W, 3] RGB, or a single one [H, W, 3], by what they are compared with."""
        batch = images[None] if images.ndim == 3 else images
        parts = [self._record(batch[start : start + CPU_BATCH]) for start in range(0, len(batch), CPU_BATCH)]
        return FaceRecords(*map(np.concatenate, zip(*parts, strict=True)))

    def scores(self, probe: FaceRecords, gallery: FaceRecords) -> Scores:
        """Return scores of n pairs of faces; a single probe is compared with every face of the gallery."""
        one, other = _features(probe), _features(gallery)
        with evaluating(self.model), torch.inference_mode():
            count = len(other.embedding)
            repeated = FaceFeatures(*(part.expand(count, *part.shape[1:]) if part.numel() else part for part in one))
            local = local_pair_scores(self.model, repeated, other)
            share = (one.visibility * other.visibility).mean((1, 2, 3))
        global_score = (one.embedding * other.embedding).sum(1).double().numpy()
        local_score = local.double().numpy()
        combined = combined_scores_of(self.rule, probe, gallery, global_score, local_score)
        plain = Scores(global_score, local_score, combined, share.double().numpy())
        decides = self._set is not None and self._set.get("decision") == "calibrated"
        return with_fusion(plain, self._fusion, probe, gallery, decides=decides)

    def by_visible_share(self, score: str) -> list[dict[str, Any]]:
        """Return TAR and FAR of the evaluation by what a pair shows; empty if it was not measured."""
        stored: list[dict[str, Any]] = (self._set or {}).get("by_visible_share", {}).get(score, [])
        return stored

    def threshold(self, far: float, score: str = "global") -> float | None:
        """Threshold of the first set's clean pairs on the `global` or `combined` score; None if it was not measured."""
        return next((value for rate, value in self.thresholds(score).items() if np.isclose(rate, far)), None)

    def thresholds(self, score: str = "global") -> dict[float, float]:
        """Return the measured thresholds by false accept rate."""
        points = [] if self._set is None else self._set["conditions"]["clean"]["scores"][score]["tar_at_far"]
        return {point["far"]: point["threshold"] for point in points if point["measurable"]}

    def _record(self, images: NDArray[np.uint8]) -> FaceRecords:
        tensor = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
        with evaluating(self.model), torch.inference_mode():
            found = face_features(self.model, tensor, "cpu")
        parts = (found.embedding, found.visibility, found.feature_map, found.norm, found.local_embedding)
        return FaceRecords(*(part.numpy() for part in parts))


def _features(records: FaceRecords) -> FaceFeatures:
    parts = (records.embedding, records.local_features, records.visibility, records.norm, records.local_embedding)
    return FaceFeatures(*map(torch.from_numpy, parts))
