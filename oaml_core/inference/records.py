"""Descriptions of faces that are compared, and the scores of compared pairs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

UNKNOWN: Floats = np.empty(0, dtype=np.float32)
"""A part of records that were made without it."""


class FaceRecords(NamedTuple):
    """The description that n faces are compared by: a gallery to keep.

    Example:
        >>> import oaml_core as oaml
        >>> records = oaml.load_model("model.onnx").records(oaml.load_face("a.png")[None])
        >>> first = records.rows(slice(1))
        >>> first.visibility.shape
        (1, 1, 7, 7)
    """

    embedding: Floats
    """[n, E], unit length, image and mirrored image fused."""
    visibility: Floats
    """[n, 1, h, w], of the image itself."""
    local_features: Floats
    """[n, C, h, w], of the image itself."""
    norm: Floats = UNKNOWN
    """[n], length of the embedding before normalisation, mean over image and mirrored image; empty: not known."""
    local_embedding: Floats = UNKNOWN
    """[n, E], unit length, all local evidence, image and mirrored image fused, of a model that compares one vector a
    face; empty: the model compares `local_features`."""

    @property
    def tell_cover(self) -> bool:
        """Return True if the visibility was looked at: models that compare embeddings alone say 1 everywhere."""
        return bool(self.local_embedding.size or self.local_features.any())

    def rows(self, which: slice | NDArray[np.int64]) -> FaceRecords:
        """Return some of the faces; parts that the records were made without stay empty."""
        return FaceRecords(*(part[which] if len(part) else part for part in self))


class Scores(NamedTuple):
    """Scores of n pairs, each [n]."""

    global_score: NDArray[np.float64]
    """Cosine of the fused embeddings, in [-1, 1]."""
    local_score: NDArray[np.float64] | None
    """Matcher's score; None of models that have none."""
    combined_score: NDArray[np.float64] | None
    """Scores by the rule stored in the model; None without the matcher or without metrics."""
    visible_share: NDArray[np.float64]
    """Mean product of both visibilities, in [0, 1]."""
    calibrated_score: NDArray[np.float64] | None = None
    """Scores by the fusion stored in the model, see `oaml_core.inference.fusion.Fusion.score`; None without it."""
    log_likelihood_ratio: NDArray[np.float64] | None = None
    """Natural logarithm, same person against different people; None without a fusion."""
    calibrated_decides: bool = False
    """Whether the model decides by the calibrated score."""
    ratio_interval: NDArray[np.float64] | None = None
    """[n, 2] 95 % intervals of `log_likelihood_ratio` over people, see `Fusion.ratio_interval`; None: not measured."""

    @property
    def deciding(self) -> tuple[str, NDArray[np.float64]]:
        """Name and values of the deciding score: `calibrated` if the model says so, else `combined`, else `global`."""
        if self.calibrated_decides and self.calibrated_score is not None:
            return "calibrated", self.calibrated_score
        return ("global", self.global_score) if self.combined_score is None else ("combined", self.combined_score)
