"""Cosines of pairs that pass through the same buffers a few at a time."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from oaml_core.models.pair_cosines import PAIRS_AT_ONCE, pair_cosines


@pytest.mark.parametrize("count", [0, 1, PAIRS_AT_ONCE, 2 * PAIRS_AT_ONCE + 3])
@pytest.mark.parametrize(("product", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 0.006)])
def test_cosines_are_those_of_normalised_maps(count: int, product: torch.dtype, error: float) -> None:
    generator = torch.Generator().manual_seed(0)
    probe = 5 * torch.randn(count, 32, 6, generator=generator)
    gallery = probe + torch.randn(count, 32, 6, generator=generator)
    gallery[:1, :, 0] = 0  # a place without any length is like nothing
    unit = [functional.normalize(maps, dim=1) for maps in (probe, gallery)]
    expected = unit[0].transpose(1, 2) @ unit[1]
    torch.testing.assert_close(pair_cosines(probe, gallery, product), expected, rtol=0, atol=error)
