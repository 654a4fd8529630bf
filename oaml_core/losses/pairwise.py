"""Pairwise matching: every pair of the batch is genuine or impostor (Liao & Shao 2022, section 3.3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from oaml_core.errors import ModelInputError


class BatchScores(NamedTuple):
    """Scores of samples with a batch, and which pairs are genuine."""

    scores: Tensor
    """[P, G]."""
    genuine: Tensor
    """bool [P, G]."""
    counted: Tensor
    """bool [P, G], False for the pair of a sample with itself."""

    def hardest(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return smallest genuine and largest impostor score [P], 0 where there is none, and bool [P]: there are
        both.
        """
        genuine, impostor = self.genuine & self.counted, ~self.genuine & self.counted
        both = genuine.any(1) & impostor.any(1)
        lowest = self.scores.masked_fill(~genuine, torch.inf).amin(1)
        highest = self.scores.masked_fill(~impostor, -torch.inf).amax(1)
        return lowest.masked_fill(~both, 0), highest.masked_fill(~both, 0), both

    @torch.no_grad()
    def spread(self) -> dict[str, Tensor]:
        """Return mean and deviation [P] of each probe's genuine and impostor scores, by name, for people to watch.

        A kind of pair that a probe has none of counts as 0.
        """
        found = {}
        for name, kind in (("genuine", self.genuine), ("impostor", ~self.genuine)):
            weight = (kind & self.counted).to(self.scores.dtype)
            count = weight.sum(1).clamp_min(1)
            mean = (self.scores * weight).sum(1) / count
            variance = ((self.scores - mean[:, None]).square() * weight).sum(1) / count
            found[f"{name}_score"] = mean
            found[f"{name}_deviation"] = variance.sqrt()
        return found


class PairwiseLoss(NamedTuple):
    """Loss of each probe's pairs: `loss` [P], a sum of binary cross-entropies; `accuracy` [P] in {0, 1}."""

    loss: Tensor
    accuracy: Tensor


def pair_scores(
    scores: Tensor, probe_labels: Tensor, gallery_labels: Tensor, self_columns: Tensor | None = None
) -> BatchScores:
    """Return scores [P, G] together with the truth about their pairs.

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
    return BatchScores(scores, genuine, counted)


def pairwise_matching_loss(pairs: BatchScores) -> PairwiseLoss:
    """Binary cross-entropy of the scores (logits) over all pairs but that of a probe with itself.

    Accuracy is hard: 1 where the smallest genuine score exceeds the largest impostor score, or one of them is missing.
    """
    scores, genuine, counted = pairs
    losses = functional.binary_cross_entropy_with_logits(scores, genuine.to(scores.dtype), reduction="none")
    with torch.no_grad():
        lowest, highest, both = pairs.hardest()
        accuracy = ((lowest > highest) | ~both).to(scores.dtype)
    return PairwiseLoss((losses * counted).sum(1), accuracy)
