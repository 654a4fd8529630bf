"""QAConv: the published scores, and what visibility does to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from oaml_core.errors import ModelInputError
from oaml_core.models import correlation
from oaml_core.models.correlation import correlation_maxima
from oaml_core.models.qaconv import QAConv

DATA = Path(__file__).parents[1] / "data"
REFERENCE = np.load(DATA / "qaconv.npz")
SEEDS = st.integers(0, 2**31 - 1)


def published() -> QAConv:
    matcher = QAConv(32, (7, 7))
    state = {name.removeprefix("state."): torch.from_numpy(REFERENCE[name]) for name in REFERENCE if "state." in name}
    matcher.load_state_dict(state)
    return matcher


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seen(seed: int, count: int) -> Tensor:
    return torch.rand(count, 1, 7, 7, generator=torch.Generator().manual_seed(seed))


def test_evaluation_scores_are_the_published_ones() -> None:
    scores = published().eval().match(*(torch.from_numpy(REFERENCE[name]) for name in ("probe", "gallery")))
    np.testing.assert_allclose(scores.detach().numpy(), REFERENCE["score_eval"], rtol=1e-4, atol=1e-5)


def test_training_scores_and_gradient_are_the_published_ones() -> None:
    probe, gallery = (torch.from_numpy(REFERENCE[name]) for name in ("probe", "gallery"))
    probe.requires_grad_()
    scores = published().train().match(probe, gallery)
    np.testing.assert_allclose(scores.detach().numpy(), REFERENCE["score_train"], rtol=1e-4, atol=1e-5)
    scores.square().sum().backward()
    assert probe.grad is not None
    # The matcher normalises its maps, the published function does not: its gradient loses what lies along the map.
    unit, gradient = REFERENCE["probe"], REFERENCE["grad_probe_of_sum_square_train"]
    expected = gradient - unit * (unit * gradient).sum(1, keepdims=True)
    np.testing.assert_allclose(probe.grad.numpy(), expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_pairs_are_the_diagonal_and_match_is_symmetric(seed: int) -> None:
    matcher = published().eval()
    a, b, u, v = drawn(seed, 4, 32, 7, 7), drawn(seed + 1, 4, 32, 7, 7), seen(seed, 4), seen(seed + 1, 4)
    whole = matcher.match(a, b, u, v)
    torch.testing.assert_close(matcher.match_pairs(a, b, u, v), whole.diagonal(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(matcher.match(b, a, v, u), whole.T, rtol=1e-4, atol=1e-5)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(matcher.match(a[order], b, u[order], v), whole[order], rtol=1e-4, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_everything_visible_is_exactly_the_unweighted_score(seed: int) -> None:
    matcher = published().eval()
    a, b, ones = drawn(seed, 3, 32, 7, 7), drawn(seed + 1, 2, 32, 7, 7), torch.ones(3, 1, 7, 7)
    assert torch.equal(matcher.match(a, b, ones, ones[:2]), matcher.match(a, b))


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.integers(0, 48))
def test_an_occluded_place_decides_nothing(seed: int, place: int) -> None:
    """What an invisible place shows may change at will."""
    matcher = published().eval()
    a, b, u, v = drawn(seed, 2, 32, 7, 7), drawn(seed + 1, 2, 32, 7, 7), seen(seed, 2), seen(seed + 1, 2)
    u.flatten(1)[:, place] = 0
    changed = a.clone()
    changed.flatten(2)[:, :, place] = drawn(seed + 2, 2, 32)
    torch.testing.assert_close(matcher.match(a, b, u, v), matcher.match(changed, b, u, v))


def test_nothing_visible_is_no_evidence_finite_with_finite_gradients() -> None:
    matcher = published().eval()
    a = drawn(0, 2, 32, 7, 7).requires_grad_()
    blind = torch.zeros(2, 1, 7, 7)
    scores = matcher.match(a, drawn(1, 3, 32, 7, 7), blind, torch.zeros(3, 1, 7, 7))
    expected = matcher.logit_bn(2 * matcher.fc.bias[None]).expand(2, 3)
    torch.testing.assert_close(scores, expected)
    scores.sum().backward()
    assert a.grad is not None
    assert a.grad.isfinite().all()


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, u, v = drawn(0, 7, 32, 7, 7), drawn(1, 5, 32, 7, 7), seen(0, 7), seen(1, 5)
    whole = published().eval().match(a, b, u, v)
    monkeypatch.setattr(correlation, "BLOCK_BYTES", 1)
    torch.testing.assert_close(published().eval().match(a, b, u, v), whole)


@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_are_those_of_finite_differences(weighted: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    probe, gallery = (torch.randn(2, 3, 4, dtype=torch.float64, generator=generator) for _ in range(2))
    u, v = (torch.rand(2, 4, dtype=torch.float64, generator=generator) for _ in range(2))
    visibility = (u, v) if weighted else (None, None)
    for shift in (0.0, 1.0):
        assert torch.autograd.gradcheck(
            lambda p, g, s=shift: correlation_maxima(p, g, *visibility, s),
            (probe.clone().requires_grad_(), gallery.clone().requires_grad_()),
        )


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelInputError, match=r"\[B, 32, 7, 7\]"):
        published().match(torch.zeros(1, 16, 7, 7), torch.zeros(1, 32, 7, 7))
    with pytest.raises(ModelInputError, match="as many probes"):
        published().match_pairs(torch.zeros(1, 32, 7, 7), torch.zeros(2, 32, 7, 7))
