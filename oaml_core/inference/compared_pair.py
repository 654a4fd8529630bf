"""One pair looked at closely: scores, visibility maps, and which places the local evidence comes from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from oaml_core.evaluation.scoring.scores import PairScores, compare_features, face_features
from oaml_core.inference.records import FaceRecords
from oaml_core.models.modes import evaluating
from oaml_core.models.recogniser import Recogniser

MATCH_COLOURS = ("#ffd43b", "#63e6be", "#74c0fc", "#ffa94d", "#e599f7", "#a9e34b", "#ff8787", "#f8f9fa")
"""Of correspondences in pictures, strongest first: lines that overlap are told apart by their ends."""


@dataclass(frozen=True)
class DrawablePair:
    """What a picture of a compared pair needs."""

    images: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    """[H, W, 3] RGB each."""
    visibility: tuple[NDArray[np.float32], NDArray[np.float32]]
    """[h, w] each, in [0, 1]."""
    correspondences: list[tuple[int, int, float]]
    """(place in the first map, place in the second map, strength in [0, 1]), strongest first."""


@dataclass(frozen=True)
class ComparedPair(DrawablePair):
    """The same with the pair's scores."""

    scores: PairScores
    """Of this one pair."""


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
        correspondences = strongest_correspondences(
            a.feature_map[0], b.feature_map[0], a.visibility[0], b.visibility[0]
        )
    return ComparedPair(
        images=(first.permute(1, 2, 0).numpy(), second.permute(1, 2, 0).numpy()),
        visibility=(a.visibility[0, 0].float().cpu().numpy(), b.visibility[0, 0].float().cpu().numpy()),
        correspondences=correspondences,
        scores=scores,
    )


def drawable_pair(
    images: tuple[NDArray[np.uint8], NDArray[np.uint8]], records: tuple[FaceRecords, FaceRecords]
) -> DrawablePair:
    """Two faces [H, W, 3] and what they are compared by, the first face of each of `records`."""
    maps = [torch.from_numpy(one.local_features[0]) for one in records]
    visible = [torch.from_numpy(one.visibility[0]) for one in records]
    return DrawablePair(
        images=images,
        visibility=(records[0].visibility[0, 0], records[1].visibility[0, 0]),
        correspondences=strongest_correspondences(maps[0], maps[1], visible[0], visible[1]),
    )


def strongest_correspondences(
    first: Tensor, second: Tensor, first_visibility: Tensor, second_visibility: Tensor, count: int = len(MATCH_COLOURS)
) -> list[tuple[int, int, float]]:
    """Pairs of places that are each other's best match, weighted by how visible both are.

    Args:
        first: [C, h, w] feature map, raw or normalised over channels.
        second: [C, h, w].
        first_visibility: [1, h, w], in [0, 1].
        second_visibility: [1, h, w].
        count: pairs at most.

    Returns:
        (place in the first map, place in the second map, strength), strongest first; a place is row · w +
        column, the strength max(cosine, 0) · visibility · visibility, in [0, 1]. Pairs without strength are
        left out.
    """
    a = normalize(first.float().flatten(1), dim=0)
    b = normalize(second.float().flatten(1), dim=0)
    visible = first_visibility.float().flatten()[:, None] * second_visibility.float().flatten()
    strength = (a.T @ b).clamp(0, 1) * visible
    best_of_first = strength.argmax(1)
    places = torch.arange(len(best_of_first), device=strength.device)
    mutual = places[strength.argmax(0)[best_of_first] == places]
    values = strength[mutual, best_of_first[mutual]]
    order = values.argsort(descending=True)[:count].tolist()
    return [(int(mutual[i]), int(best_of_first[mutual[i]]), float(values[i])) for i in order if values[i] > 0]


def centre_of(place: int, shape: tuple[int, ...]) -> tuple[float, float]:
    """Centre of a place of a map [h, w], as shares of the image's width and height."""
    row, column = divmod(place, shape[1])
    return (column + 0.5) / shape[1], (row + 0.5) / shape[0]
