"""Correlation maxima: values, gradients, blocks, types."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from oaml_core.models import correlation, correlation_itself
from oaml_core.models.correlation import BlockSize, PlacePrior, correlate, correlation_maxima
from oaml_core.models.correlation_itself import maxima_of_itself
from oaml_core.models.correlation_weighting import Weighting, normalisation, weighted_side

SEEDS = st.integers(0, 2**31 - 1)


def drawn(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def plain(probe: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
    c = torch.einsum("basc,brkc->basrk", probe, gallery)
    return c.amax(3), c.amax(2)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(1, 6), st.integers(1, 33))
def test_maxima_are_those_of_all_correlations_whatever_the_block(
    seed: int, groups: int, probes: int, places: int, maps: int, block: int
) -> None:
    probe = drawn(seed, groups, probes, places, 3).requires_grad_()
    gallery = drawn(seed + 1, groups, places + 1, maps, 3).requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(correlation, "CPU_BLOCK_BYTES", block * 40)
        found = correlation_maxima(probe, gallery)
        gradients = torch.autograd.grad([m.square().sum() for m in found], [probe, gallery])
    expected = plain(probe, gallery)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        gradients, torch.autograd.grad([m.square().sum() for m in expected], [probe, gallery]), rtol=1e-4, atol=1e-5
    )


def test_candidates_are_the_gallery_maps_that_they_number() -> None:
    probe, gallery = drawn(0, 4, 1, 5, 3).requires_grad_(), drawn(1, 1, 5, 6, 3)
    candidates = torch.tensor([[0, 5], [2, 2], [1, 3], [4, 0]])
    found = correlation_maxima(probe, gallery, candidates)
    own = gallery[0][:, candidates].transpose(0, 1)
    expected = plain(probe, own)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad([m.square().sum() for m in maxima], probe)[0] for maxima in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weighting", ["evidence", "multiply", None])
def test_gradients_are_those_of_finite_differences(weighting: Weighting | None) -> None:
    probe, gallery = (drawn(seed, 3, 5, 4, dtype=torch.float64) for seed in (0, 1))
    v, u = (torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    v[0], u[1, 0] = 0, 0

    def maxima(probe: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
        seen = (None, None) if weighting is None else (v, u)
        left = weighted_side(probe, seen[0], weighting or "evidence", torch.float64)
        right = weighted_side(gallery, seen[1], weighting or "evidence", torch.float64, gallery=True)
        return correlation_maxima(left.rows[None], right.rows.transpose(0, 1)[None])

    assert torch.autograd.gradcheck(maxima, (probe.requires_grad_(), gallery.requires_grad_()))


@pytest.mark.parametrize("penalised", [False, True])
def test_gradients_of_affinities_are_those_of_finite_differences(penalised: bool) -> None:
    probe, gallery = drawn(0, 2, 3, 5, 4, dtype=torch.float64), drawn(1, 2, 6, 4, 4, dtype=torch.float64)
    log_affinity = drawn(2, 5, 6, dtype=torch.float64)
    taken = [drawn(3, 2, 3, 5, 1, dtype=torch.float64), drawn(4, 2, 1, 6, 4, dtype=torch.float64)]
    penalties = [x.abs() for x in taken] if penalised else [None, None]

    def maxima(probe: Tensor, gallery: Tensor, log_affinity: Tensor) -> tuple[Tensor, Tensor]:
        return correlation_maxima(probe, gallery, prior=PlacePrior(log_affinity, *penalties))

    inputs = [x.requires_grad_() for x in (probe, gallery, log_affinity)]
    c = torch.einsum("basc,brkc->basrk", probe, gallery) * log_affinity.exp()[:, :, None]
    expected = (c, c) if not penalised else (c - taken[1].abs()[:, :, None], c - taken[0].abs()[:, :, :, None])
    torch.testing.assert_close(maxima(*inputs), (expected[0].amax(3), expected[1].amax(2)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(correlation, "CPU_BLOCK_BYTES", 5 * 6 * 8 * 3)
        assert torch.autograd.gradcheck(maxima, inputs)


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_bfloat16_factors_keep_each_maximum_within_its_bound(seed: int) -> None:
    rows = [torch.nn.functional.normalize(drawn(seed + i, 2, 9, 2, 64), dim=-1) for i in range(2)]
    exact = correlation_maxima(rows[0].transpose(1, 2), rows[1])
    rounded = correlation_maxima(rows[0].transpose(1, 2), rows[1], product=torch.bfloat16)
    for one, other in zip(exact, rounded, strict=True):
        assert (one - other).abs().max() <= 3 * 2**-9


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 10**9), st.integers(1, 5000), st.integers(1, 40_000))
def test_blocks_fit_the_budget(budget: int, maps: int, bytes_a_pair: int) -> None:
    size = BlockSize.within(budget, maps, bytes_a_pair)
    assert size.probes * size.maps * bytes_a_pair <= max(budget, bytes_a_pair)


def test_only_maxima_and_their_places_are_kept_for_the_backward_pass() -> None:
    probe, gallery = drawn(0, 1, 20, 49, 8).requires_grad_(), drawn(1, 1, 49, 20, 8).requires_grad_()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: (kept.append(x), x)[1], lambda x: x):
        correlation_maxima(probe, gallery)
    bytes_kept = sum(x.numel() * x.element_size() for x in kept)
    inputs = 4 * (probe.numel() + gallery.numel())
    assert bytes_kept <= inputs + 20 * 20 * 2 * 49


@pytest.mark.parametrize("largest_weight", [None, 1.0, 0.01])
def test_statistics_of_maxima_and_their_gradients(largest_weight: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    one, other, weight = (torch.rand(1, 2, 5, 3, dtype=torch.float64, generator=generator) for _ in range(3))
    # The least leaves less than one maximum to count.
    weight = None if largest_weight is None else largest_weight * weight
    bn = nn.BatchNorm1d(1).double().train()
    counted = torch.cat([one.flatten(), other.flatten()])
    shares = torch.ones_like(counted) if weight is None else weight.flatten().repeat(2)
    mean = (counted * shares).sum() / shares.sum().clamp_min(1)
    variance = ((counted - mean).square() * shares).sum() / shares.sum().clamp_min(1)
    expected = (variance + bn.eps).rsqrt()

    scale, shift = normalisation(bn, one, other, weight)

    torch.testing.assert_close((scale, shift), (expected[None], -mean * expected[None]))
    inputs = one.requires_grad_(), other.requires_grad_()
    assert torch.autograd.gradcheck(lambda *maxima: normalisation(bn, *maxima, weight), inputs)


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.integers(1, 9), st.integers(1, 400), st.sampled_from(get_args(Weighting)))
def test_a_batch_with_itself_has_the_maxima_and_gradients_of_two_sides(
    seed: int, count: int, block: int, weighting: Weighting
) -> None:
    maps, weights = drawn(seed, count, 5, 4, dtype=torch.float64), drawn(seed + 1, 2, count, 4, count).double()
    v = torch.rand(count, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(correlation, "CPU_BLOCK_BYTES", block * 128)
        for once in (True, False):
            learnt = maps.clone().requires_grad_()
            left = weighted_side(learnt, v, weighting, torch.float64)
            right = weighted_side(learnt, v, weighting, torch.float64, gallery=True)
            if once:
                maxima = maxima_of_itself(left.rows, turned=weighting == "evidence", product=torch.float64)
            else:
                maxima = correlation_maxima(left.rows[None], right.rows.transpose(0, 1)[None])
            total = (maxima[0] * weights[0]).sum() + (maxima[1] * weights[1]).sum()
            found.append([*maxima, *torch.autograd.grad(total, learnt)])
    torch.testing.assert_close(*found)


def test_a_batch_with_itself_multiplies_each_pair_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = []

    def counted(probe: Tensor, gallery: Tensor, places: int) -> Tensor:
        pairs.append(probe.shape[1] * gallery.shape[1] // places)
        return correlate(probe, gallery, places)

    monkeypatch.setattr(correlation_itself, "correlate", counted)
    monkeypatch.setattr(correlation, "CPU_BLOCK_BYTES", 4 * 16 * 9)
    maxima_of_itself(drawn(0, 30, 4, 5), turned=False, product=torch.float32)
    assert sum(pairs) == 10 * 9 + 45 * 9, "30 maps in blocks of 3: the diagonal's, and each other pair once"
