"""Scores of recognisers that give an embedding and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from oaml_core.evaluation.scoring.conditions import CLEAN, Condition
from oaml_core.evaluation.scoring.face_features import CPU_BATCH
from oaml_core.evaluation.scoring.scores import (
    BINS,
    Floats,
    PairScores,
    join_scores,
    pair_numbers,
    read_images,
    with_progress,
)
from oaml_core.evaluation.scoring.shard import batches_of

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Faces uint8 [n, H, W, 3] RGB in, unit embeddings [n, E] out, image and mirrored image fused."""


def score_global(
    embed: Embed,
    images: NDArray[np.uint8],
    conditions: Sequence[Condition],
    *,
    landmarks: NDArray[np.float32] | None = None,
    pairs: slice | None = None,
    progress: str | None = None,
) -> dict[str, PairScores]:
    """Return global scores of the same pairs under several conditions; all that embeddings do not give is NaN.

    Args:
        embed: describes faces.
        images: [2N, H, W, 3] RGB; pairs are the rows 0-1, 2-3, …
        conditions: what is drawn on the second image of each pair, or on both.
        landmarks: [2N, 5, 2] in pixels; None: the standard template of aligned faces.
        pairs: the pairs to score, whole chunks; None: all.
        progress: name of the work in bar or log, see `oaml_core.progress`; None: nothing is shown.

    Raises:
        EvaluationError: the images are not [2N, H, W, 3] uint8.
    """
    chosen = pair_numbers(images, pairs)
    parts: dict[str, list[PairScores]] = {condition.name: [] for condition in conditions or [CLEAN]}
    for rows in with_progress(batches_of(chosen.size, CPU_BATCH), progress):
        batch = chosen[rows]
        firsts, seconds = read_images(images, 2 * batch), read_images(images, 2 * batch + 1)
        clean_first = embed(_last_axis(firsts))
        for condition in conditions:
            drawn, masks = condition.apply(seconds, batch, landmarks)
            second, first = embed(_last_axis(drawn)), clean_first
            covered = 1.0 - masks.mean((1, 2, 3)).double().cpu().numpy()
            if condition.covers(0):
                drawn, first_masks = condition.apply(firsts, batch, landmarks, side=0)
                first = embed(_last_axis(drawn))
                covered = (covered + 1.0 - first_masks.mean((1, 2, 3)).double().cpu().numpy()) / 2
            parts[condition.name].append(_alone((first * second).sum(1, dtype=np.float64), covered))
    return {name: join_scores(batches) for name, batches in parts.items()}


def _last_axis(images: Tensor) -> NDArray[np.uint8]:
    return np.ascontiguousarray(images.permute(0, 2, 3, 1).cpu().numpy())


def _alone(global_score: Floats, covered_share: Floats) -> PairScores:
    absent = np.full(len(global_score), np.nan)
    return PairScores(
        global_score,
        local_score=absent,
        visible_share=absent,
        covered_share=covered_share,
        hidden_intersection=absent,
        hidden_union=absent,
        map_error=absent,
        reliability=np.full((len(global_score), 3, BINS), np.nan),
    )
