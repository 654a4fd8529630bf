"""One pair looked at closely: scores, visibility maps, and which places the local evidence comes from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oaml_core.inference.records import FaceRecords, Floats

MATCH_COLOURS = ("#ffd43b", "#63e6be", "#74c0fc", "#ffa94d", "#e599f7", "#a9e34b", "#ff8787", "#f8f9fa")
"""Colours of correspondences in pictures, strongest first: lines that overlap are told apart by their ends."""


@dataclass(frozen=True)
class DrawablePair:
    """The parts of a picture of a compared pair."""

    images: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    """[H, W, 3] RGB each."""
    visibility: tuple[NDArray[np.float32], NDArray[np.float32]]
    """[h, w] each, in [0, 1]."""
    correspondences: list[tuple[int, int, float]]
    """(place in the first map, place in the second map, strength in [0, 1]), strongest first."""
    grid: tuple[int, ...]
    """(h, w) of the maps whose places correspond; that of visibility may be finer."""


def drawable_pair(
    images: tuple[NDArray[np.uint8], NDArray[np.uint8]], records: tuple[FaceRecords, FaceRecords]
) -> DrawablePair:
    """Return two faces [H, W, 3] and what they are compared by, the first face of each of `records`."""
    maps = [one.local_features[0] for one in records]
    visible = [one.visibility[0] for one in records]
    return DrawablePair(
        images=images,
        visibility=(records[0].visibility[0, 0], records[1].visibility[0, 0]),
        correspondences=strongest_correspondences(
            maps[0], maps[1], visible[0], visible[1], same_place=bool(records[0].local_embedding.size)
        ),
        grid=maps[0].shape[1:],
    )


def strongest_correspondences(
    first: Floats,
    second: Floats,
    first_visibility: Floats,
    second_visibility: Floats,
    count: int = len(MATCH_COLOURS),
    *,
    same_place: bool = False,
) -> list[tuple[int, int, float]]:
    """Find pairs of places that are each other's best match, weighted by how visible both are.

    Args:
        first: float32 [C, h, w] feature map, raw or normalised over channels.
        second: float32 [C, h, w].
        first_visibility: float32 [1, h, w], in [0, 1], or a whole number of times finer.
        second_visibility: the same.
        count: largest number of pairs.
        same_place: compare every place with the same place of the other face alone, as models do that make one vector
            of a face.

    Returns:
        (place in the first map, place in the second map, strength), strongest first; a place is row · w +
        column, the strength max(cosine, 0) · visibility · visibility, in [0, 1]. Pairs without strength are
        left out.
    """
    visible = _at(first_visibility, first.shape[1:]).reshape(-1, 1) * _at(second_visibility, second.shape[1:]).reshape(
        1, -1
    )
    strength = np.clip(_unit_columns(first).T @ _unit_columns(second), 0.0, 1.0) * visible
    if same_place:
        strength = np.diag(np.diag(strength))
    best_of_first = strength.argmax(1)
    places = np.arange(len(best_of_first))
    mutual = places[strength.argmax(0)[best_of_first] == places]
    values = strength[mutual, best_of_first[mutual]]
    order = np.argsort(-values, kind="stable")[:count]
    return [(int(mutual[i]), int(best_of_first[mutual[i]]), float(values[i])) for i in order if values[i] > 0]


def _at(visibility: Floats, grid: tuple[int, ...]) -> Floats:
    """Return a map of visibility [1, H, W] by the mean over the places of a grid [h, w] that divides it."""
    height, width = grid
    finer = visibility.reshape(height, visibility.shape[1] // height, width, visibility.shape[2] // width)
    return np.asarray(finer.mean((1, 3)), dtype=np.float32)


def _unit_columns(features: Floats) -> Floats:
    """Return the feature vectors of a map [C, h, w] as unit columns [C, hw]."""
    columns = features.reshape(len(features), -1).astype(np.float32)
    return np.asarray(columns / np.maximum(np.linalg.norm(columns, axis=0), 1e-12), dtype=np.float32)


def centre_of(place: int, shape: tuple[int, ...]) -> tuple[float, float]:
    """Centre of a place of a map [h, w], as shares of the image's width and height."""
    row, column = divmod(place, shape[1])
    return (column + 0.5) / shape[1], (row + 0.5) / shape[0]
