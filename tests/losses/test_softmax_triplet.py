"""Softmax-triplet: classification over candidates, ranking of the hardest pairs, what takes no part."""

from __future__ import annotations

import pytest
import torch

from oaml_core.errors import ModelInputError
from oaml_core.losses.pairwise import pair_scores
from oaml_core.losses.softmax_triplet import softmax_triplet_loss

LABELS = torch.tensor([0, 0, 1])
SCORES = torch.tensor([[9.0, 2.0, 1.5], [2.0, 9.0, -1.0], [1.5, -1.0, 9.0]])
PAIRS = pair_scores(SCORES, LABELS, LABELS, torch.arange(3))
KNOWN = torch.ones(3, 3, dtype=torch.bool)


def test_it_is_cross_entropy_and_half_the_hinge_of_the_hardest_pairs() -> None:
    class_scores = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0], [3.0, 0.0, 0.0]])
    found = softmax_triplet_loss(class_scores, KNOWN, PAIRS)
    classification = class_scores.logsumexp(1) - class_scores[:, 0]
    # 2 against 1.5 lacks half of the margin, 2 against −1 nothing; the third sample has no genuine pair.
    torch.testing.assert_close(found.loss, classification + 0.5 * torch.tensor([0.5, 0.0, 0.0]))
    assert found.accuracy.tolist() == [1.0, 0.0, 1.0]


def test_classes_that_are_not_known_yet_take_no_part() -> None:
    class_scores = torch.tensor([[2.0, 9.0, 1.0], [9.0, 1.0, 0.0], [1.0, 0.0, 0.0]], requires_grad=True)
    known = torch.tensor([[True, False, True], [False, True, True], [False, False, False]])
    found = softmax_triplet_loss(class_scores, known, PAIRS, triplet_weight=0.0)
    expected = torch.tensor([2.0, 1.0]).logsumexp(0) - 2.0
    torch.testing.assert_close(found.loss, torch.stack([expected, torch.tensor(0.0), torch.tensor(0.0)]))
    assert found.accuracy.tolist() == [1.0, 0.0, 0.0]
    found.loss.sum().backward()
    assert class_scores.grad is not None
    assert class_scores.grad.isfinite().all()
    assert not class_scores.grad[~known].any()


def test_a_batch_without_impostors_has_no_ranking() -> None:
    pairs = pair_scores(SCORES, torch.zeros(3).long(), torch.zeros(3).long(), torch.arange(3))
    found = softmax_triplet_loss(torch.zeros(3, 2), KNOWN[:, :2], pairs, margin=5.0)
    torch.testing.assert_close(found.loss, torch.full((3,), 2.0).log())


def test_a_larger_margin_and_its_weight_count() -> None:
    by_margin = [softmax_triplet_loss(torch.zeros(3, 1), KNOWN[:, :1], PAIRS, margin=m).loss for m in (1.0, 3.0)]
    torch.testing.assert_close(by_margin[1] - by_margin[0], 0.5 * torch.tensor([2.0, 0.0, 0.0]))
    nothing = softmax_triplet_loss(torch.zeros(3, 1), KNOWN[:, :1], PAIRS, margin=9.0, triplet_weight=0.0)
    assert not nothing.loss.any()


def test_scores_of_other_samples_are_refused() -> None:
    with pytest.raises(ModelInputError, match="not of the same samples"):
        softmax_triplet_loss(torch.zeros(2, 3), KNOWN, PAIRS)
    with pytest.raises(ModelInputError, match="do not fit 2 probe labels"):
        pair_scores(SCORES, LABELS[:2], LABELS)
