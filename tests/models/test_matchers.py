"""What every matcher promises: symmetry, blocks, visibility, input that it refuses."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from oaml_core.config import ModelConfig
from oaml_core.errors import ModelInputError
from oaml_core.models import correlation, pair_cosines, qaconv, transmatcher_layers
from oaml_core.models import matcher as matcher_module
from oaml_core.models.build import build_matcher
from oaml_core.models.matcher import Matcher

SEEDS = st.integers(0, 2**31 - 1)
NAMES = ("qaconv", "transmatcher")
MATCHERS = st.sampled_from([(name, weighting) for name in NAMES for weighting in ("evidence", "multiply")])
CLOSE = {"rtol": 1e-3, "atol": 1e-4}
"""The chain of batch normalisations of TransMatcher's layers enlarges rounding errors of single precision."""


@cache
def state_of(name: str) -> dict[str, Tensor]:
    """Weights of a matcher whose every parameter and running statistic has left its first value."""
    torch.manual_seed(0)
    matcher = build_matcher(ModelConfig(matcher=name), 32, (7, 7))
    for parameter in matcher.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter) * parameter.std(correction=0).clamp_min(0.1)
        if parameter.ndim == 4:
            parameter.data = (parameter.data + parameter.data.mT) / 2
    for seed in range(30):
        matcher.match(drawn(seed, 4), drawn(seed, 4) + drawn(seed + 100, 4))
    return matcher.state_dict()


def made(name: str, weighting: str = "evidence") -> Matcher:
    matcher = build_matcher(ModelConfig(matcher=name, weighting=weighting), 32, (7, 7))
    matcher.load_state_dict(state_of(name))
    return matcher.eval()


def drawn(seed: int, count: int) -> Tensor:
    return torch.randn(count, 32, 7, 7, generator=torch.Generator().manual_seed(seed))


def seen(seed: int, count: int) -> Tensor:
    """Half of the places visible to some degree, a quarter wholly, a quarter not at all."""
    return (2 * torch.rand(count, 1, 7, 7, generator=torch.Generator().manual_seed(seed)) - 0.5).clamp(0, 1)


def scores_of(matcher: Matcher, *inputs: Tensor | None, gradient: bool = False) -> Tensor:
    """With `gradient` the path of training, else that of evaluation."""
    with torch.set_grad_enabled(gradient):
        return matcher.match(*inputs).detach()


@settings(max_examples=15, deadline=None)
@given(SEEDS, MATCHERS)
def test_match_is_symmetric_and_pairs_are_its_diagonal(seed: int, kind: tuple[str, str]) -> None:
    matcher = made(*kind)
    a, b, u, v = drawn(seed, 4), drawn(seed + 1, 4), seen(seed, 4), seen(seed + 1, 4)
    whole = scores_of(matcher, a, b, u, v)
    torch.testing.assert_close(scores_of(matcher, b, a, v, u), whole.T, **CLOSE)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(scores_of(matcher, a[order], b, u[order], v), whole[order], **CLOSE)
    torch.testing.assert_close(matcher.match_pairs(a, b, u, v).detach(), whole.diagonal(), **CLOSE)
    with torch.no_grad():
        torch.testing.assert_close(matcher.match_pairs(a, b, u, v), whole.diagonal(), **CLOSE)


@settings(max_examples=10, deadline=None)
@given(SEEDS, MATCHERS, st.integers(1, 2_000_000))
def test_scores_depend_on_no_block_size(seed: int, kind: tuple[str, str], budget: int) -> None:
    matcher, inputs = made(*kind), (drawn(seed, 5), drawn(seed + 1, 7), seen(seed, 5), seen(seed + 1, 7))
    whole, pairs = (scores_of(matcher, *inputs, gradient=True), matcher.match_pairs(*(x[:5] for x in inputs)))
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(correlation, "CPU_BLOCK_BYTES", budget)
        patch.setattr(transmatcher_layers, "block_bytes", lambda device: budget)
        patch.setattr(matcher, "prepared_at_once", budget)
        patch.setattr(matcher, "pairs_at_once", budget)
        patch.setattr(pair_cosines, "MAPS_AT_ONCE", 1 + budget % 5)
        patch.setattr(qaconv, "FEW_PROBES", budget % 2 * 5)
        patch.setattr(qaconv, "PAIRS_AT_ONCE", 1 + budget % 4)
        torch.testing.assert_close(scores_of(matcher, *inputs), whole, **CLOSE)
        torch.testing.assert_close(matcher.match_pairs(*(x[:5] for x in inputs)), pairs, **CLOSE)


@settings(max_examples=10, deadline=None)
@given(SEEDS, MATCHERS, st.booleans())
def test_everything_visible_is_exactly_the_unweighted_score(seed: int, kind: tuple[str, str], training: bool) -> None:
    matcher, ones = made(*kind).train(training), torch.ones(3, 1, 7, 7)
    a, b = drawn(seed, 3), drawn(seed + 1, 2)
    for gradient in (False, True):
        unweighted = scores_of(matcher, a, b, gradient=gradient)
        assert torch.equal(scores_of(matcher, a, b, ones, ones[:2], gradient=gradient), unweighted)
        assert torch.equal(scores_of(matcher, a, b, ones, None, gradient=gradient), unweighted)
    assert torch.equal(matcher.match_pairs(a[:2], b, ones[:2], ones[:2]), matcher.match_pairs(a[:2], b))


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.sampled_from(NAMES), st.integers(0, 48))
def test_an_invisible_place_decides_nothing(seed: int, name: str, place: int) -> None:
    """What it shows may change at will: training and evaluation, and its gradient is zero."""
    a, b, u, v = drawn(seed, 2), drawn(seed + 1, 2), seen(seed, 2), seen(seed + 1, 2)
    u.flatten(1)[:, place] = 0
    changed = a.clone()
    changed.flatten(2)[:, :, place] = drawn(seed + 2, 2).flatten(2)[:, :, place]
    for matcher in (made(name), made(name).train()):
        torch.testing.assert_close(scores_of(matcher, a, b, u, v), scores_of(matcher, changed, b, u, v), **CLOSE)
        torch.testing.assert_close(scores_of(matcher, b, a, v, u), scores_of(matcher, b, changed, v, u), **CLOSE)
    a.requires_grad_()
    made(name).train().match(a, b, u, v).square().sum().backward()
    assert a.grad is not None
    assert not a.grad.flatten(2)[:, :, place].any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("sides", [(0, 0), (0, 1), (1, 0)])
def test_nothing_visible_is_no_evidence_finite_with_finite_gradients(
    name: str, training: bool, sides: tuple[int, int]
) -> None:
    matcher = made(name).train(training)
    a, b = drawn(0, 2).requires_grad_(), drawn(1, 3).requires_grad_()
    u, v = torch.full((2, 1, 7, 7), float(sides[0])), torch.full((3, 1, 7, 7), float(sides[1]))
    for scores in (matcher.match(a, b, u, v), matcher.match_pairs(a, b[:2], u, v[:2])):
        assert scores.isfinite().all()
        torch.testing.assert_close(scores, scores.flatten()[0].expand(scores.shape))
        scores.sum().backward()
    for gradient in (a.grad, b.grad, *(p.grad for p in matcher.parameters())):
        assert gradient is not None
        assert gradient.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_visibility_gets_no_gradient(name: str) -> None:
    u = seen(0, 2).requires_grad_()
    scores = made(name).match(drawn(0, 2).requires_grad_(), drawn(1, 2), u, u)
    scores.sum().backward()
    assert u.grad is None


@pytest.mark.parametrize("name", NAMES)
def test_candidates_are_matched_like_pairs(name: str) -> None:
    matcher, probe, gallery, v = made(name), drawn(0, 3), drawn(1, 5), seen(0, 3)
    candidates = torch.tensor([[0, 4], [1, 1], [3, 2]])
    whole = matcher.match(probe, gallery, v, torch.ones(5, 1, 7, 7))
    expected = whole.gather(1, candidates)
    torch.testing.assert_close(matcher.match_candidates(probe, gallery, candidates, v), expected, **CLOSE)
    with pytest.raises(ModelInputError, match="rows 0 … 4"):
        matcher.match_candidates(probe, gallery, candidates + 1)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_maps_are_scored_in_single_precision(name: str) -> None:
    a, b = drawn(0, 2).bfloat16(), drawn(1, 2).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = made(name).match(a, b)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, made(name).match(a.float(), b.float()))


A, ONES = torch.zeros(2, 32, 7, 7), torch.ones(2, 1, 7, 7)


@pytest.mark.parametrize("name", NAMES)
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
def test_input_that_does_not_fit_is_refused(name: str, call: Callable[[Matcher], Tensor], said: str) -> None:
    with pytest.raises(ModelInputError, match=said):
        call(made(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_configured_bfloat16_product_changes_scores_by_little(name: str) -> None:
    a = drawn(0, 8)
    b, v = a + drawn(1, 8), seen(2, 8)
    rounded = build_matcher(ModelConfig(matcher=name, matcher_product="bf16"), 32, (7, 7)).eval()
    rounded.load_state_dict(state_of(name))
    for visibility in (None, v):
        exact, other = scores_of(made(name), a, b, visibility), scores_of(rounded, a, b, visibility)
        assert not torch.equal(exact, other)
        assert (exact - other).std() < 0.02 * exact.std()
        torch.testing.assert_close(
            rounded.match_pairs(a, b, visibility).detach(), other.diagonal(), rtol=0.05, atol=0.05
        )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fast", [False, True])
def test_the_automatic_product_is_bfloat16_where_that_is_fast_and_safe(
    name: str, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matcher_module, "is_fast_in_bfloat16", lambda device_type: fast)
    a, b = drawn(0, 4), drawn(1, 4)
    by_product = {}
    for product in ("auto", "fp32", "bf16"):
        matcher = build_matcher(ModelConfig(matcher=name, matcher_product=product), 32, (7, 7))
        matcher.load_state_dict(state_of(name))
        by_product[product] = matcher.eval()
    taken = "bf16" if fast and name == "qaconv" else "fp32"
    assert torch.equal(scores_of(by_product["auto"], a, b), scores_of(by_product[taken], a, b))
    # Training is as precise as without it.
    assert torch.equal(scores_of(by_product["auto"].train(), a, b), scores_of(by_product["fp32"].train(), a, b))


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_gives_the_same_scores_and_gradients(name: str) -> None:
    outcomes = []
    for device in ("cpu", "cuda"):
        matcher = made(name).double().train().to(device)
        a, b, u, v = (x.double().to(device) for x in (drawn(0, 5), drawn(1, 4), seen(0, 5), seen(1, 4)))
        a.requires_grad_()
        scores = matcher.match(a, b, u, v)
        scores.square().sum().backward()
        outcomes.append((scores.detach().cpu(), a.grad.cpu(), matcher.eval().match_pairs(a[:4], b, u[:4], v).cpu()))
    torch.testing.assert_close(outcomes[0], outcomes[1])
