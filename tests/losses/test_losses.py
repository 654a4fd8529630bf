"""Losses: the published numbers, and faults that are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from oaml_core.errors import ModelInputError, NonFiniteLossError
from oaml_core.losses.finite import FiniteGuard
from oaml_core.losses.pairwise import pair_scores, pairwise_matching_loss
from oaml_core.losses.visibility import visibility_loss
from oaml_core.models.qaconv import QAConv
from oaml_core.visibility import resize_visibility

REFERENCE = np.load(Path(__file__).parents[1] / "data" / "pairwise_matching_loss.npz")


def test_pairwise_loss_and_accuracy_are_the_published_ones() -> None:
    matcher = QAConv(32, (7, 7)).eval()
    state = {name.removeprefix("state."): torch.from_numpy(REFERENCE[name]) for name in REFERENCE if "state." in name}
    matcher.load_state_dict(state)
    features, target = torch.from_numpy(REFERENCE["feature"]), torch.from_numpy(REFERENCE["target"])
    result = pairwise_matching_loss(pair_scores(matcher.match(features, features), target, target))
    np.testing.assert_allclose(result.loss.detach().numpy(), REFERENCE["loss_per_row"], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(result.accuracy.numpy(), REFERENCE["accuracy_per_row"])


def test_a_probe_is_not_its_own_genuine_pair() -> None:
    labels = torch.tensor([0, 0, 1])
    scores = torch.tensor([[9.0, -1.0, 0.0], [-1.0, 9.0, 0.0], [0.0, 0.0, 9.0]])
    with_itself = pairwise_matching_loss(pair_scores(scores, labels, labels))
    without = pairwise_matching_loss(pair_scores(scores, labels, labels, torch.arange(3)))
    assert without.accuracy.tolist() == [0.0, 0.0, 1.0]
    torch.testing.assert_close(
        with_itself.loss - without.loss, torch.nn.functional.softplus(torch.full((3,), -9.0)), rtol=1e-3, atol=1e-6
    )


def test_visibility_shrinks_by_area() -> None:
    mask = torch.ones(1, 1, 112, 112)
    mask[..., :8] = 0  # half of the first column of places
    small = resize_visibility(mask, (7, 7))
    assert torch.equal(small[0, 0, :, 0], torch.full((7,), 0.5))
    assert torch.equal(small[0, 0, :, 1:], torch.ones(7, 6))
    assert visibility_loss(torch.ones(1, 1, 7, 7), mask).item() == pytest.approx(0.25 / 7)
    with pytest.raises(ModelInputError, match=r"\[B, 1, h, w\]"):
        visibility_loss(torch.ones(1, 2, 7, 7), mask)
    with pytest.raises(ModelInputError, match=r"lies in \[0, 255\].*divided by 255"):
        visibility_loss(torch.ones(1, 1, 7, 7), 255 * mask)
    with pytest.raises(ModelInputError, match="on cpu, the target on meta"):
        visibility_loss(torch.ones(1, 1, 7, 7), mask.to("meta"))
    assert visibility_loss(torch.ones(1, 1, 7, 7), mask * torch.nan).isnan(), "the guard's business"


def test_the_first_term_that_is_not_finite_is_named_and_in_the_end_an_error() -> None:
    guard = FiniteGuard(max_skipped_steps=2)
    good, bad = torch.tensor(1.0), torch.tensor(float("nan"))

    def verdict(step: int, *batches: dict[str, torch.Tensor]) -> str | None:
        for terms in batches:
            guard.watch(terms)
        return guard.verdict(step)

    assert verdict(1, {"adaface": good, "qaconv": good}) is None
    assert verdict(2, {"adaface": good, "qaconv": bad}, {"adaface": good, "qaconv": good}) == "qaconv"
    assert verdict(3, {"adaface": good, "qaconv": good}) is None
    verdict(4, {"adaface": bad})
    verdict(5, {"adaface": good}, {"gradient": bad})
    with pytest.raises(NonFiniteLossError, match=r"'adaface'.*step 6.*optim.lr"):
        verdict(6, {"adaface": bad})


def test_scores_are_summed_up_by_probe_and_kind_of_pair() -> None:
    scores = torch.tensor([[9.0, 4.0, 1.0, 2.0], [4.0, 9.0, 3.0, 7.0], [1.0, 3.0, 9.0, 5.0]])
    labels = torch.tensor([0, 0, 1])
    found = pair_scores(scores, labels, torch.tensor([0, 0, 1, 2]), torch.arange(3)).spread()
    torch.testing.assert_close(found["genuine_score"], torch.tensor([4.0, 4.0, 0.0]))
    torch.testing.assert_close(found["impostor_score"], torch.tensor([1.5, 5.0, 3.0]))
    torch.testing.assert_close(found["genuine_deviation"], torch.zeros(3))
    torch.testing.assert_close(found["impostor_deviation"], torch.tensor([0.5, 2.0, (8 / 3) ** 0.5]))


def test_a_probe_is_right_only_where_every_genuine_score_exceeds_every_impostor_score() -> None:
    scores = torch.tensor([[5.0, 3.0, 2.0], [3.0, 3.0, 2.0], [2.0, 3.0, 1.0]])
    pairs = pair_scores(scores, torch.zeros(3, dtype=torch.int64), torch.tensor([0, 1, 1]))
    assert pairwise_matching_loss(pairs).accuracy.tolist() == [1.0, 0.0, 0.0]


def test_the_hardest_scores_of_a_probe_that_lacks_a_kind_of_pair_are_0() -> None:
    scores = torch.tensor([[5.0, 3.0], [4.0, 6.0]])
    lowest, highest, both = pair_scores(scores, torch.tensor([0, 7]), torch.tensor([0, 1])).hardest()
    assert both.tolist() == [True, False]
    assert lowest.tolist() == [5.0, 0.0]
    assert highest.tolist() == [3.0, 0.0]


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_a_visibility_just_outside_of_its_range_is_refused(value: float) -> None:
    target = torch.full((1, 1, 4, 4), 0.5)
    target[..., 0, 0] = value
    with pytest.raises(ModelInputError, match="a share in"):
        visibility_loss(torch.ones(1, 1, 2, 2), target)


def test_maps_that_are_not_square_are_compared_and_other_counts_refused() -> None:
    target = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])[None, None]
    assert visibility_loss(torch.ones(1, 1, 1, 2), target).item() == pytest.approx(0.125)
    with pytest.raises(ModelInputError, match=r"\[2, 1, 1, 2\]"):
        visibility_loss(torch.ones(2, 1, 1, 2), target)
