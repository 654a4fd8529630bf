"""QAConv: the published scores, and what visibility does to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from oaml_core.errors import ModelInputError
from oaml_core.models import correlation, qaconv
from oaml_core.models.correlation_weighting import Weighting, weighted_side
from oaml_core.models.qaconv import QAConv

REFERENCE = np.load(Path(__file__).parents[1] / "data" / "qaconv.npz")
SEEDS = st.integers(0, 2**31 - 1)
WEIGHTINGS = st.sampled_from(get_args(Weighting))
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def published(weighting: Weighting = "evidence") -> QAConv:
    matcher = QAConv(32, (7, 7), weighting=weighting)
    state = {name.removeprefix("state."): torch.from_numpy(REFERENCE[name]) for name in REFERENCE if "state." in name}
    matcher.load_state_dict(state)
    return matcher.eval()


def drawn(seed: int, count: int) -> Tensor:
    return torch.randn(count, 32, 7, 7, generator=torch.Generator().manual_seed(seed))


def seen(seed: int, count: int) -> Tensor:
    """Half of the places visible to some degree, a quarter wholly, a quarter not at all."""
    return (2 * torch.rand(count, 1, 7, 7, generator=torch.Generator().manual_seed(seed)) - 0.5).clamp(0, 1)


def scores_of(matcher: QAConv, *inputs: Tensor | None, gradient: bool = False) -> Tensor:
    """With `gradient` the path of training, else that of evaluation."""
    with torch.set_grad_enabled(gradient):
        return matcher.match(*inputs).detach()


def test_evaluation_scores_are_the_published_ones() -> None:
    maps = [torch.from_numpy(REFERENCE[name]) for name in ("probe", "gallery")]
    for gradient in (False, True):
        scores = scores_of(published(), *maps, gradient=gradient)
        np.testing.assert_allclose(scores.numpy(), REFERENCE["score_eval"], rtol=1e-4, atol=1e-5)


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


def test_running_statistics_move_as_those_of_the_batch_normalisation_do() -> None:
    matcher, layer = published().train(), torch.nn.BatchNorm1d(1)
    layer.load_state_dict(matcher.bn.state_dict())
    probe, gallery = drawn(0, 4), drawn(1, 3)
    matcher.match(probe, gallery)
    unit = [torch.nn.functional.normalize(maps.flatten(2), dim=1) for maps in (probe, gallery)]
    c = torch.einsum("pcs,gcr->pgsr", *unit)
    layer(torch.cat([c.amax(2), c.amax(3)]).view(-1, 1))
    torch.testing.assert_close(dict(matcher.bn.state_dict()), dict(layer.state_dict()), **CLOSE)


@settings(max_examples=15, deadline=None)
@given(SEEDS, WEIGHTINGS)
def test_match_is_symmetric_and_pairs_are_its_diagonal(seed: int, weighting: Weighting) -> None:
    matcher = published(weighting)
    a, b, u, v = drawn(seed, 4), drawn(seed + 1, 4), seen(seed, 4), seen(seed + 1, 4)
    whole = scores_of(matcher, a, b, u, v)
    torch.testing.assert_close(scores_of(matcher, b, a, v, u), whole.T, **CLOSE)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(scores_of(matcher, a[order], b, u[order], v), whole[order], **CLOSE)
    torch.testing.assert_close(matcher.match_pairs(a, b, u, v).detach(), whole.diagonal(), **CLOSE)
    with torch.no_grad():
        torch.testing.assert_close(matcher.match_pairs(a, b, u, v), whole.diagonal(), **CLOSE)


@settings(max_examples=10, deadline=None)
@given(SEEDS, WEIGHTINGS, st.integers(1, 2_000_000))
def test_scores_depend_on_no_block_size(seed: int, weighting: Weighting, budget: int) -> None:
    matcher, inputs = published(weighting), (drawn(seed, 5), drawn(seed + 1, 7), seen(seed, 5), seen(seed + 1, 7))
    whole, pairs = (scores_of(matcher, *inputs, gradient=True), matcher.match_pairs(*(x[:5] for x in inputs)))
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(correlation, "CPU_BLOCK_BYTES", budget)
        for name in ("ROWS_BYTES", "PAIRS_BYTES"):
            patch.setattr(qaconv, name, budget)
        torch.testing.assert_close(scores_of(matcher, *inputs), whole, **CLOSE)
        torch.testing.assert_close(matcher.match_pairs(*(x[:5] for x in inputs)), pairs, **CLOSE)


@settings(max_examples=10, deadline=None)
@given(SEEDS, WEIGHTINGS, st.booleans())
def test_everything_visible_is_exactly_the_unweighted_score(seed: int, weighting: Weighting, training: bool) -> None:
    matcher, ones = published(weighting).train(training), torch.ones(3, 1, 7, 7)
    a, b = drawn(seed, 3), drawn(seed + 1, 2)
    for gradient in (False, True):
        unweighted = scores_of(matcher, a, b, gradient=gradient)
        assert torch.equal(scores_of(matcher, a, b, ones, ones[:2], gradient=gradient), unweighted)
        assert torch.equal(scores_of(matcher, a, b, ones, None, gradient=gradient), unweighted)
    assert torch.equal(matcher.match_pairs(a[:2], b, ones[:2], ones[:2]), matcher.match_pairs(a[:2], b))


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(0, 48))
def test_an_invisible_place_decides_nothing(seed: int, place: int) -> None:
    """What it shows may change at will: training and evaluation, and its gradient is zero."""
    a, b, u, v = drawn(seed, 2), drawn(seed + 1, 2), seen(seed, 2), seen(seed + 1, 2)
    u.flatten(1)[:, place] = 0
    changed = a.clone()
    changed.flatten(2)[:, :, place] = drawn(seed + 2, 2).flatten(2)[:, :, place]
    for matcher in (published(), published().train()):
        torch.testing.assert_close(scores_of(matcher, a, b, u, v), scores_of(matcher, changed, b, u, v), **CLOSE)
        torch.testing.assert_close(scores_of(matcher, b, a, v, u), scores_of(matcher, b, changed, v, u), **CLOSE)
    a.requires_grad_()
    published().train().match(a, b, u, v).square().sum().backward()
    assert a.grad is not None
    assert not a.grad.flatten(2)[:, :, place].any()


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(0, 48), st.floats(0, 1))
def test_lowering_a_place_never_makes_it_win(seed: int, place: int, factor: float) -> None:
    """The partners that a place wins with less visibility are among those that it won before."""

    def won(visibility: Tensor) -> Tensor:
        a = drawn(seed, 1).requires_grad_()
        by_place = torch.autograd.grad(_best_matches(a, drawn(seed + 1, 1), visibility, v).sum(), a)[0]
        return by_place.flatten(2)[0, :, place].abs().sum()

    u, v = seen(seed, 1), seen(seed + 1, 1)
    lower = u.clone()
    lower.flatten(1)[:, place] *= factor
    if not won(u):
        assert not won(lower)


def _best_matches(a: Tensor, b: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Maxima of b's places over a's."""
    left = correlation_rows(a, u)
    return correlation.correlation_maxima(left[None], correlation_rows(b, v, gallery=True).transpose(0, 1)[None])[1]


def correlation_rows(maps: Tensor, visibility: Tensor, *, gallery: bool = False) -> Tensor:
    return weighted_side(maps.flatten(2), visibility.flatten(1), "evidence", maps.dtype, gallery=gallery).rows


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.floats(0.2, 1))
def test_equally_visible_maps_are_compared_like_wholly_visible_ones(seed: int, visibility: float) -> None:
    """Up to the little by which evidence fades."""
    matcher = published()
    a, b, grey = drawn(seed, 3), drawn(seed + 1, 3), torch.full((3, 1, 7, 7), visibility)
    none = scores_of(matcher, a, b, torch.zeros_like(grey), grey)
    whole, weighted = scores_of(matcher, a, b) - none, scores_of(matcher, a, b, grey, grey) - none
    share = visibility**2
    torch.testing.assert_close(weighted, whole * share / (share + 0.01 * (1 - share)), **CLOSE)


def test_an_occluded_place_does_not_win_against_negative_correlations() -> None:
    """`multiply` lets it: its 0 beats them."""
    a = torch.ones(1, 32, 7, 7)
    b = -a
    hidden = torch.ones(1, 1, 7, 7)
    hidden[..., 0, 0] = 0
    by_rule = {rule: QAConv(32, (7, 7), weighting=rule).eval() for rule in get_args(Weighting)}
    scores = {rule: scores_of(matcher, a, b, None, hidden).item() for rule, matcher in by_rule.items()}
    assert scores["evidence"] == pytest.approx(-2, abs=1e-3)
    # Every probe place finds the hidden one best: that direction's maxima are 0.
    assert scores["multiply"] == pytest.approx(-48 / 49, abs=1e-3)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("sides", [(0, 0), (0, 1), (1, 0)])
def test_nothing_visible_is_no_evidence_finite_with_finite_gradients(training: bool, sides: tuple[int, int]) -> None:
    matcher = published().train(training)
    a, b = drawn(0, 2).requires_grad_(), drawn(1, 3).requires_grad_()
    u, v = torch.full((2, 1, 7, 7), float(sides[0])), torch.full((3, 1, 7, 7), float(sides[1]))
    for scores in (matcher.match(a, b, u, v), matcher.match_pairs(a, b[:2], u, v[:2])):
        assert scores.isfinite().all()
        torch.testing.assert_close(scores, scores.flatten()[0].expand(scores.shape))
        if not training:
            expected = matcher.logit_bn(2 * matcher.fc.bias[None]).flatten()
            torch.testing.assert_close(scores.flatten(), expected.expand(scores.numel()))
        scores.sum().backward()
    for gradient in (a.grad, b.grad, *(p.grad for p in matcher.parameters())):
        assert gradient is not None
        assert gradient.isfinite().all()


def test_visibility_gets_no_gradient() -> None:
    u = seen(0, 2).requires_grad_()
    scores = published().match(drawn(0, 2).requires_grad_(), drawn(1, 2), u, u)
    scores.sum().backward()
    assert u.grad is None


def test_an_untrained_matcher_ranks_genuine_above_impostor_pairs() -> None:
    faces = drawn(0, 6)
    again = faces + 0.8 * drawn(1, 6)
    scores = scores_of(QAConv(32, (7, 7)).eval(), faces, again)
    assert scores.diagonal().min() > scores[~torch.eye(6, dtype=torch.bool)].max()


def test_candidates_are_matched_like_pairs() -> None:
    matcher, probe, gallery, v = published(), drawn(0, 3), drawn(1, 5), seen(0, 3)
    candidates = torch.tensor([[0, 4], [1, 1], [3, 2]])
    whole = matcher.match(probe, gallery, v, torch.ones(5, 1, 7, 7))
    torch.testing.assert_close(matcher.match_candidates(probe, gallery, candidates, v), whole.gather(1, candidates))
    with pytest.raises(ModelInputError, match="rows 0 … 4"):
        matcher.match_candidates(probe, gallery, candidates + 1)


def test_bfloat16_scores_are_off_by_no_more_than_their_correlations() -> None:
    faces = drawn(0, 8)
    inputs = faces, faces + drawn(1, 8)
    exact, rounded = published(), QAConv(32, (7, 7), product="bf16").eval()
    rounded.load_state_dict(exact.state_dict())
    one, other = scores_of(exact, *inputs), scores_of(rounded, *inputs)
    scales = [layer.weight / (layer.running_var + layer.eps).sqrt() for layer in (exact.bn, exact.logit_bn)]
    bound = 2 * 3 * 2**-9 * exact.fc.weight.abs().sum() * scales[0].abs() * scales[1].abs()
    assert (one - other).abs().max() <= bound
    assert (one - other).std() < 0.01 * one.std()
    torch.testing.assert_close(rounded.match_pairs(*inputs).detach(), other.diagonal(), rtol=0, atol=0.02)


def test_half_precision_maps_are_scored_in_single_precision() -> None:
    a, b = drawn(0, 2).bfloat16(), drawn(1, 2).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = published().match(a, b)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, published().match(a.float(), b.float()))


A, ONES = torch.zeros(2, 32, 7, 7), torch.ones(2, 1, 7, 7)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: m.match(A[:, :16], A), r"\[B, 32, 7, 7\], not \[2, 16, 7, 7\]"),
        (lambda m: m.match(A, A[..., :5]), r"gallery maps \[B, 32, 7, 7\]"),
        (lambda m: m.match(A.long(), A), "floating-point"),
        (lambda m: m.match(A.to("meta"), A), "on meta, the matcher on cpu"),
        (lambda m: m.match(A, A, ONES[:1], ONES), r"\[2, 1, 7, 7\], not \[1, 1, 7, 7\]"),
        (lambda m: m.match(A, A, ONES, 2 * ONES), r"gallery's visibility lies in \[2, 2\]"),
        (lambda m: m.match(A, A, ONES.to("meta"), ONES), "visibility is on meta"),
        (lambda m: m.match_pairs(A, A[:1]), "as many probes"),
        (lambda m: m.match_candidates(A, A, torch.zeros(2, 1)), "int64"),
    ],
)
def test_input_that_does_not_fit_is_refused(call: Callable[[QAConv], Tensor], said: str) -> None:
    with pytest.raises(ModelInputError, match=said):
        call(published())
