"""Pairwise matching: every pair of the batch is genuine or impostor (Liao & Shao 2022, section 3.3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from oaml_core.errors import ModelInputError


class PairwiseLoss(NamedTuple):
    """`loss` [P]: sum of binary cross-entropies of each probe's pairs; `accuracy` [P] in {0, 1}."""

    loss: Tensor
    accuracy: Tensor


def pairwise_matching_loss(
    scores: Tensor, probe_labels: Tensor, gallery_labels: Tensor, self_columns: Tensor | None = None
) -> PairwiseLoss:
    """Binary cross-entropy of `scores` [P, G] (logits) over all pairs but that of a probe with itself.

    Accuracy is hard: 1 where the smallest genuine score exceeds the largest impostor score.

    Args:
        probe_labels: int64 [P], gallery_labels: int64 [G].
        self_columns: int64 [P], the gallery column that is the probe itself; None if there is none.

    Raises:
        ModelInputError: labels do not fit the scores.
    """
    if scores.shape != (len(probe_labels), len(gallery_labels)):
        raise ModelInputError(
            f"Scores {list(scores.shape)} do not fit {len(probe_labels)} probe labels and {len(gallery_labels)} "
            "gallery labels."
        )
    genuine = probe_labels[:, None] == gallery_labels
    counted = torch.ones_like(genuine)
    if self_columns is not None:
        counted.scatter_(1, self_columns[:, None], False)
    losses = functional.binary_cross_entropy_with_logits(scores, genuine.to(scores.dtype), reduction="none")
    with torch.no_grad():
        hardest_genuine = scores.masked_fill(~(genuine & counted), torch.inf).amin(1)
        hardest_impostor = scores.masked_fill(genuine | ~counted, -torch.inf).amax(1)
        accuracy = (hardest_genuine > hardest_impostor).to(scores.dtype)
    return PairwiseLoss((losses * counted).sum(1), accuracy)
