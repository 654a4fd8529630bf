"""Cosines of pairs that pass through the same buffers a few at a time."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from oaml_core.models.pair_cosines import MAPS_AT_ONCE, few_with_many_cosines, pair_cosines


@pytest.mark.parametrize("count", [0, 1, MAPS_AT_ONCE, 2 * MAPS_AT_ONCE + 3])
@pytest.mark.parametrize(("product", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 0.006)])
def test_cosines_are_those_of_normalised_maps(count: int, product: torch.dtype, error: float) -> None:
    generator = torch.Generator().manual_seed(0)
    probe = 5 * torch.randn(count, 32, 6, generator=generator)
    gallery = probe + torch.randn(count, 32, 6, generator=generator)
    gallery[:1, :, 0] = 0  # a place without any length is like nothing
    unit = [functional.normalize(maps, dim=1) for maps in (probe, gallery)]
    expected = unit[0].transpose(1, 2) @ unit[1]
    torch.testing.assert_close(pair_cosines(probe, gallery, product), expected, rtol=0, atol=error)


@pytest.mark.parametrize("count", [0, 1, MAPS_AT_ONCE, 2 * MAPS_AT_ONCE + 3])
@pytest.mark.parametrize(("product", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 0.006)])
def test_cosines_of_few_with_many_are_those_of_normalised_maps(count: int, product: torch.dtype, error: float) -> None:
    generator = torch.Generator().manual_seed(0)
    probe, gallery = (5 * torch.randn(n, 32, 6, generator=generator) for n in (3, count))
    probe[:1, :, 0] = gallery[:1, :, 2] = 0
    unit = [functional.normalize(maps, dim=1) for maps in (probe, gallery)]
    expected = torch.einsum("pcs,gcr->gpsr", *unit)
    torch.testing.assert_close(few_with_many_cosines(probe, gallery, product), expected, rtol=0, atol=error)
