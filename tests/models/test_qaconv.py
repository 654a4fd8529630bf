"""QAConv: the published scores, and what visibility does to them."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from oaml_core.losses.pairwise import pair_scores, pairwise_matching_loss
from oaml_core.models import correlation
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


def test_gradients_of_a_batch_against_itself_are_the_published_ones() -> None:
    reference = np.load(Path(__file__).parents[1] / "data" / "qaconv_gradients.npz")
    matcher = QAConv(24, (5, 4)).double().train()
    matcher.load_state_dict(
        {n.removeprefix("state."): torch.from_numpy(reference[n]) for n in reference if "state" in n}
    )
    maps = torch.from_numpy(reference["maps"]).requires_grad_()
    scores = matcher.match(maps, maps)
    exact = {"rtol": 1e-9, "atol": 1e-12}
    np.testing.assert_allclose(scores.detach().numpy(), reference["score"], **exact)
    labels = torch.from_numpy(reference["labels"])
    loss = pairwise_matching_loss(pair_scores(scores, labels, labels, torch.arange(len(labels)))).loss.sum()
    np.testing.assert_allclose(
        (loss + (torch.from_numpy(reference["score_weight"]) * scores).sum()).item(), reference["loss"], **exact
    )
    (loss + (torch.from_numpy(reference["score_weight"]) * scores).sum()).backward()
    assert maps.grad is not None
    # The matcher normalises its maps, the published function does not: its gradient loses what lies along the map.
    unit, gradient = reference["maps"], reference["grad_maps"]
    expected = gradient - unit * (unit * gradient).sum(1, keepdims=True)
    assert np.abs(expected).max() > 0.1, "the reference would prove little"
    np.testing.assert_allclose(maps.grad.numpy(), expected, **exact)
    for name, parameter in matcher.named_parameters():
        assert parameter.grad is not None
        np.testing.assert_allclose(parameter.grad.numpy(), reference[f"grad.{name}"], **exact, err_msg=name)
    for name, value in matcher.state_dict().items():
        np.testing.assert_allclose(value.numpy(), reference[f"after.{name}"], **exact, err_msg=name)


def by_the_formula(matcher: QAConv, a: Tensor, b: Tensor, v: Tensor, u: Tensor) -> Tensor:
    """Score [] of one pair of maps [C, h, w], as the formulas of `correlation_weighting` are written there."""
    a, b = (torch.nn.functional.normalize(maps.flatten(1), dim=0) for maps in (a, b))
    c, v, u = a.T @ b, v.flatten(), u.flatten()
    counts = torch.ones_like(v)
    if matcher.weighting == "evidence":
        q, r = 2 * (1 - v / v.max()), 2 * (1 - u / u.max())
        c = c - q[:, None] - r
        over_gallery, over_probe = q + c.amax(1), r + c.amax(0)
        counts = v * u / ((v * u).mean() + 0.01 * (1 - (v * u).mean()))
    else:
        c = c if matcher.weighting == "none" else v[:, None] * u * c
        over_gallery, over_probe = c.amax(1), c.amax(0)
    x = matcher.bn(over_gallery[:, None]) + matcher.bn(over_probe[:, None])
    return matcher.logit_bn(matcher.fc.weight @ (counts[:, None] * x) + 2 * matcher.fc.bias)[0, 0]


@pytest.mark.parametrize("weighting", get_args(Weighting))
@pytest.mark.parametrize("gradient", [True, False])
def test_scores_are_those_of_the_formula(weighting: Weighting, gradient: bool) -> None:
    matcher = published(weighting)
    a, b, v, u = drawn(0, 2), drawn(1, 3), seen(2, 2), seen(3, 3)
    rows = [torch.stack([by_the_formula(matcher, a[i], b[j], v[i], u[j]) for j in range(3)]) for i in range(2)]
    expected = torch.stack(rows).detach()
    torch.testing.assert_close(scores_of(matcher, a, b, v, u, gradient=gradient), expected, **CLOSE)
    with torch.set_grad_enabled(gradient):
        pairs = matcher.match_pairs(a, b[:2], v, u[:2]).detach()
    torch.testing.assert_close(pairs, expected[:, :2].diagonal(), **CLOSE)


@pytest.mark.parametrize("weighting", get_args(Weighting))
def test_compiled_pairs_and_candidates_are_those_of_the_formula(
    weighting: Weighting, monkeypatch: pytest.MonkeyPatch
) -> None:
    matcher = published(weighting)
    a, b, v, u = 3 * drawn(0, 2), 0.5 * drawn(1, 3), seen(2, 2), torch.ones(3, 1, 7, 7)
    rows = [torch.stack([by_the_formula(matcher, a[i], b[j], v[i], u[j]) for j in range(3)]) for i in range(2)]
    expected, chosen = torch.stack(rows).detach(), torch.tensor([[2, 0], [1, 1]])
    torch.testing.assert_close(matcher.match_candidates(a, b, chosen, v).detach(), expected.gather(1, chosen), **CLOSE)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    with torch.no_grad():
        torch.testing.assert_close(matcher.match_pairs(a, b[:2], v, u[:2]), expected[:, :2].diagonal(), **CLOSE)


def test_faint_maps_are_compared_by_direction_and_empty_ones_by_nothing() -> None:
    maps = drawn(0, 1).flatten(2)
    for weighting in get_args(Weighting):
        rows = [weighted_side(x, None, weighting, maps.dtype).rows for x in (maps, 1e-8 * maps, 0 * maps)]
        torch.testing.assert_close(rows[1], rows[0])
        assert rows[2][..., :32].abs().max() == 0


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


@pytest.mark.parametrize("hidden", [0, 1])
def test_nothing_visible_scores_like_the_average_pair_of_places(hidden: int) -> None:
    matcher, u, v = published(), torch.zeros(2, 1, 7, 7), torch.full((3, 1, 7, 7), float(hidden))
    expected = matcher.logit_bn(2 * matcher.fc.bias[None]).expand(2, 3)
    torch.testing.assert_close(matcher.match(drawn(0, 2), drawn(1, 3), u, v), expected)


def test_an_untrained_matcher_ranks_genuine_above_impostor_pairs() -> None:
    faces = drawn(0, 6)
    again = faces + 0.8 * drawn(1, 6)
    scores = scores_of(QAConv(32, (7, 7)).eval(), faces, again)
    assert scores.diagonal().min() > scores[~torch.eye(6, dtype=torch.bool)].max()


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
