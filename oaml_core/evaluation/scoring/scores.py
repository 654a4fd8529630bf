"""Scores of pairs, streamed: global, local and how much of both faces is visible.

Images come in by the batch and only scores stay. A rank can score a share of the pairs; the ranks exchange scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oaml_core.errors import EvaluationError
from oaml_core.evaluation.scoring.conditions import CLEAN, Condition
from oaml_core.evaluation.scoring.face_features import (
    DescribedOnce,
    FaceFeatures,
    face_features,
    faces_a_pass,
    local_pair_scores,
)
from oaml_core.evaluation.scoring.shard import batches_of, begins_chunk
from oaml_core.inference.fusion import REGIONS, region_weights
from oaml_core.inference.strangers import Strangers
from oaml_core.models.modes import evaluating
from oaml_core.models.recogniser import Recogniser
from oaml_core.progress import progress as progress_of
from oaml_core.visibility import resize_visibility

Floats = NDArray[np.float64]

BINS = 10
"""Bins of predicted visibility, equally wide."""


class PairScores(NamedTuple):
    """Scores of N pairs under one condition. All arrays are [N], unless they say otherwise."""

    global_score: Floats
    """Cosine of the two faces' embeddings, image and mirrored image fused, in [-1, 1]."""
    local_score: Floats
    """Matcher's score of the two feature maps, weighted by both visibility maps; any range."""
    visible_share: Floats
    """Mean over the places of the map of the product of both predicted visibilities, in [0, 1]."""
    covered_share: Floats
    """Share of the drawn images that the occluder covers, in [0, 1]; 0 for clean pairs."""
    hidden_intersection: Floats
    """Places of the drawn images' maps that are covered and predicted so (both below 0.5)."""
    hidden_union: Floats
    """Places that are covered or predicted so."""
    map_error: Floats
    """Mean absolute error of the drawn images' predicted visibility, in [0, 1]."""
    reliability: Floats
    """[N, 3, BINS]: by bins of predicted visibility the number of places, the sum of the predicted visibility and the
    sum of the true one."""
    regions: Floats | None = None
    """[N, 4]: the visible share by `oaml_core.inference.fusion.REGIONS`; None: not kept."""
    quality: Floats | None = None
    """Logarithm of the smaller of the pair's embedding norms; None: not kept."""
    spreads: Floats | None = None
    """[N, 2, 3], of the first and of the second face, see `Strangers.spread`; None: no strangers are known."""


def score_pairs(
    model: Recogniser,
    images: NDArray[np.uint8],
    *,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    pairs: slice | NDArray[np.integer] | None = None,
) -> PairScores:
    """Return scores of clean pairs; see `score_conditions`.

    Args:
        model: recogniser; it is put into evaluation mode for the time of the call.
        images: [2N, H, W, 3] RGB; pairs are the rows 0-1, 2-3, … A memory map is read by the batch.
        batch_size: images in a forward pass.
        device: where the model is.
        pairs: the pairs to score, as a slice or array of pair numbers; None: all.
    """
    return score_conditions(model, images, [CLEAN], batch_size=batch_size, device=device, pairs=pairs)[CLEAN.name]


def score_conditions(
    model: Recogniser,
    images: NDArray[np.uint8],
    conditions: Sequence[Condition],
    *,
    landmarks: NDArray[np.float32] | None = None,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    pairs: slice | NDArray[np.integer] | None = None,
    strangers: Strangers | None = None,
    progress: str | None = None,
) -> dict[str, PairScores]:
    """Return scores of the same pairs under several conditions, by the condition's name.

    Images that no condition covers pass through the model once for all conditions and all pairs of a chunk that they
    stand in, as far as their features can be kept (see `DescribedOnce`).

    Args:
        model: recogniser; it is put into evaluation mode for the time of the call.
        images: [2N, H, W, 3] RGB; pairs are the rows 0-1, 2-3, …
        conditions: what is drawn on the second image of each pair, or on both.
        landmarks: [2N, 5, 2] in pixels; None: the standard template of aligned faces.
        batch_size: images in a forward pass; on a CPU at most `CPU_BATCH`.
        device: where the model is.
        pairs: the pairs to score, as a slice or array of pair numbers; None: all.
        strangers: by whom the spreads of the faces' scores are told; None: they are not.
        progress: name of the work in bar or log, see `oaml_core.progress`; None: nothing is shown.

    Raises:
        EvaluationError: the images are not [2N, H, W, 3] uint8, or a pair number does not exist.
    """
    chosen = pair_numbers(images, pairs)
    parts: dict[str, list[PairScores]] = {condition.name: [] for condition in conditions}
    with evaluating(model), torch.inference_mode():
        for rows in with_progress(batches_of(chosen.size, faces_a_pass(batch_size, device)), progress):
            if begins_chunk(rows):
                uncovered = DescribedOnce(model, device)
            batch = chosen[rows]
            firsts, seconds = read_images(images, 2 * batch), read_images(images, 2 * batch + 1)
            clean_first = uncovered.of(firsts)
            for condition in conditions:
                drawn, masks = condition.apply(seconds, batch, landmarks)
                second = face_features(model, drawn, device) if condition.covers(1) else uncovered.of(drawn)
                first, first_masks = clean_first, None
                if condition.covers(0):
                    drawn, first_masks = condition.apply(firsts, batch, landmarks, side=0)
                    first = face_features(model, drawn, device)
                parts[condition.name].append(compare_features(model, first, second, masks, first_masks, strangers))
    return {name: join_scores(batches) for name, batches in parts.items()}


def with_progress(batches: Sequence[slice], name: str | None) -> Iterable[slice]:
    """Return batches of pairs, and show how many have passed under that name; None: show nothing."""
    return batches if name is None else progress_of(batches, len(batches), f"{name}, batches of pairs")


def pair_numbers(images: NDArray[np.uint8], pairs: slice | NDArray[np.integer] | None) -> NDArray[np.int64]:
    """Return the chosen pair numbers as an array.

    Raises:
        EvaluationError: the images are not [2N, H, W, 3] uint8, or a pair number does not exist.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8 or len(images) % 2:
        raise EvaluationError(
            f"The images are {images.dtype} {images.shape}; pairs are uint8 [2N, height, width, 3], RGB, "
            "two rows per pair. Run `oaml prepare` again."
        )
    count = len(images) // 2
    everything = np.arange(count)
    if pairs is None:
        return everything
    if isinstance(pairs, slice):
        return everything[pairs]
    chosen = np.asarray(pairs, dtype=np.int64)
    unknown = chosen[(chosen < 0) | (chosen >= count)]
    if unknown.size:
        raise EvaluationError(f"Pair {unknown[0]} was asked for; the set has the pairs 0 … {count - 1}.")
    return chosen


def read_images(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> Tensor:
    """Return uint8 [n, 3, H, W] from rows of a memfile [.., H, W, 3]; channels stay last in memory, which convolves
    faster.
    """
    return torch.from_numpy(np.ascontiguousarray(images[rows])).permute(0, 3, 1, 2)


def compare_features(
    model: Recogniser,
    first: FaceFeatures,
    second: FaceFeatures,
    masks: Tensor,
    first_masks: Tensor | None = None,
    strangers: Strangers | None = None,
) -> PairScores:
    """Return scores of n pairs of faces.

    Args:
        model: recogniser in evaluation mode.
        first: of n faces.
        second: of n faces.
        masks: float [n, 1, H, W], true visibility of the second images, 1 = visible.
        first_masks: of the first images; None: nothing was drawn on them, and their maps are not judged.
        strangers: by whom the spreads of the faces' scores are told; None: they are not.
    """
    visible = (first.visibility.float() * second.visibility.float()).mean((1, 2, 3))
    predicted, truth = second.visibility, masks
    if first_masks is not None:
        # Side by side, so that both maps of a pair are judged as one.
        predicted = torch.cat([first.visibility, predicted], dim=3)
        truth = torch.cat([first_masks, truth], dim=3)
    rows = (first.visibility.float() * second.visibility.float()).mean((1, 3)).double()
    weights = torch.from_numpy(region_weights(rows.shape[1])).to(rows.device)
    columns: Mapping[str, Tensor] = {
        "global_score": (first.embedding * second.embedding).sum(1),
        "local_score": local_pair_scores(model, first, second),
        "visible_share": visible,
        "covered_share": 1.0 - truth.mean((1, 2, 3)),
        **map_quality(predicted.float(), truth.to(predicted.device)),
        "regions": rows @ weights.T,
        "quality": torch.minimum(first.norm.double(), second.norm.double()).clamp_min(1e-6).log(),
    }
    found = {name: column.cpu().double().numpy() for name, column in columns.items()}
    if strangers is not None:
        found["spreads"] = np.stack([spread_of(strangers, face) for face in (first, second)], axis=1)
    return PairScores(**found)


def spread_of(strangers: Strangers, faces: FaceFeatures) -> Floats:
    """Return how the scores of n faces with strangers spread, [n, 3]; see `Strangers.spread`."""
    return strangers.spread(*(part.float().cpu().numpy() for part in (faces.embedding, faces.local_embedding)))


def map_quality(predicted: Tensor, masks: Tensor) -> dict[str, Tensor]:
    """Predicted visibility [n, 1, h, w] against masks [n, 1, H, W], averaged over the area of each place."""
    truth = resize_visibility(masks, (predicted.shape[-2], predicted.shape[-1]))
    hidden, predicted_hidden = truth < 0.5, predicted < 0.5
    bins = (predicted * BINS).long().clamp(0, BINS - 1).flatten(1)
    in_bins = torch.nn.functional.one_hot(bins, BINS).to(predicted.dtype)
    sums = torch.stack([torch.ones_like(predicted), predicted, truth], dim=1).flatten(2)
    return {
        "hidden_intersection": (hidden & predicted_hidden).sum((1, 2, 3)),
        "hidden_union": (hidden | predicted_hidden).sum((1, 2, 3)),
        "map_error": (predicted - truth).abs().mean((1, 2, 3)),
        "reliability": sums @ in_bins,
    }


def join_scores(batches: Sequence[PairScores]) -> PairScores:
    """Return scores of several batches as one; a column that one of them does not keep is not kept."""
    if not batches:
        empty = dict.fromkeys(PairScores._fields, np.empty(0))
        return PairScores(**{**empty, "reliability": np.empty((0, 3, BINS)), "regions": np.empty((0, len(REGIONS)))})
    joined: dict[str, Any] = {
        name: None if any(part is None for part in parts) else np.concatenate(parts)
        for name, parts in zip(PairScores._fields, zip(*batches, strict=True), strict=True)
    }
    return PairScores(**joined)
