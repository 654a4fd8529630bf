"""Softmax-triplet: which of the candidate classes is it, and are the hardest pairs in the right order?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from oaml_core.errors import ModelInputError
from oaml_core.losses.pairwise import BatchScores


class SoftmaxTripletLoss(NamedTuple):
    """Loss of each sample: `loss` [P]; `accuracy` [P] is 1 if its own class wins, and 0 while that class is not
    known."""

    loss: Tensor
    accuracy: Tensor


def softmax_triplet_loss(
    class_scores: Tensor,
    known: Tensor,
    pairs: BatchScores,
    *,
    margin: float = 1.0,
    triplet_weight: float = 0.5,
) -> SoftmaxTripletLoss:
    """Cross-entropy over the candidate classes + triplet_weight · max(0, margin − (hardest genuine − impostor score)).

    Classes that are not known yet take no part; a sample whose own class is not known has no cross-entropy, one
    without a genuine or an impostor pair no ranking term.

    Args:
        class_scores: [P, k] scores with each sample's candidates, its own class first.
        known: bool [P, k].
        pairs: scores [P, G] of the samples with the batch.
        margin: by which the smallest genuine score should exceed the largest impostor score (Hermans et al. 2017).
        triplet_weight: of the ranking term.

    Raises:
        ModelInputError: shapes do not fit one another.
    """
    if class_scores.shape != known.shape or class_scores.ndim != 2 or len(class_scores) != len(pairs.scores):
        raise ModelInputError(
            f"Class scores {list(class_scores.shape)}, known {list(known.shape)} and pair scores "
            f"{list(pairs.scores.shape)} are not of the same samples and candidates."
        )
    own = known[:, 0]
    # Where the own class is not known nothing else is masked either: no row is without a finite score.
    logits = class_scores.masked_fill(~known & own[:, None], -torch.inf)
    target = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    classification = functional.cross_entropy(logits, target, reduction="none") * own
    genuine, impostor, both = pairs.hardest()
    ranking = (margin - (genuine - impostor)).relu() * both
    accuracy = (own & (logits.argmax(1) == 0)).to(class_scores.dtype)
    return SoftmaxTripletLoss(classification + triplet_weight * ranking, accuracy)
