"""One pair of faces compared by a recogniser, with what a picture of it needs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from oaml_core.evaluation.scoring.face_features import face_features
from oaml_core.evaluation.scoring.scores import PairScores, compare_features
from oaml_core.inference.compared_pair import DrawablePair, strongest_correspondences
from oaml_core.models.modes import evaluating
from oaml_core.models.recogniser import Recogniser


@dataclass(frozen=True)
class ComparedPair(DrawablePair):
    """The same with the pair's scores."""

    scores: PairScores
    """Scores of this one pair."""


def compare_pair(model: Recogniser, first: Tensor, second: Tensor, device: torch.device | str) -> ComparedPair:
    """Compare two faces.

    Args:
        model: recogniser; it is put into evaluation mode for the time of the call.
        first: uint8 [3, H, W] RGB.
        second: uint8 [3, H, W] RGB.
        device: where the model is.
    """
    with evaluating(model), torch.inference_mode():
        a, b = face_features(model, first[None], device), face_features(model, second[None], device)
        scores = compare_features(model, a, b, torch.ones(1, 1, *second.shape[-2:]))
        maps = [part.feature_map[0].float().cpu().numpy() for part in (a, b)]
        visible = [part.visibility[0].float().cpu().numpy() for part in (a, b)]
    return ComparedPair(
        images=(first.permute(1, 2, 0).numpy(), second.permute(1, 2, 0).numpy()),
        visibility=(visible[0][0], visible[1][0]),
        correspondences=strongest_correspondences(
            maps[0], maps[1], visible[0], visible[1], same_place=bool(a.local_embedding.numel())
        ),
        grid=maps[0].shape[1:],
        scores=scores,
    )
