"""Classical methods and samplers of deepinv, where it is installed, restore what they are given."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.restoration_classical import METHODS, restored
from benchmarks.restoration_scenes import PHOTOGRAPHS, photograph_tiles
from oaml_core.restoration.evaluate import CAMERAS, hidden_middle
from oaml_core.restoration.measurement import Identity, Measurement, measure
from oaml_core.restoration.metrics import psnr


@pytest.fixture(scope="module")
def tiles() -> Tensor:
    return photograph_tiles(2, 24)


def measured(tiles: Tensor, *, covered: bool = False) -> Measurement:
    seen = hidden_middle(tiles) if covered else None
    return measure(tiles, Identity(), CAMERAS["dark"], torch.Generator().manual_seed(0), seen)


def test_photographs_are_shared_among_the_tiles_and_say_their_licence() -> None:
    tiles = photograph_tiles(6, 24)
    assert tiles.shape == (6, 3, 24, 24)
    assert len({tuple(tile.flatten().tolist()) for tile in tiles}) == 6
    assert all("CC0" in licence or "public domain" in licence for licence in PHOTOGRAPHS.values())


@pytest.mark.parametrize("name", sorted(METHODS.keys() - {"BM3D"}))  # BM3D takes a minute to start
def test_classical_methods_remove_noise(tiles: Tensor, name: str) -> None:
    seen = measured(tiles)
    assert bool((psnr(restored(seen, METHODS[name]), tiles) > psnr(seen.observed, tiles) + 2).all())


def test_covered_pixels_are_filled_from_those_around_them(tiles: Tensor) -> None:
    seen = measured(tiles, covered=True)
    assert bool((psnr(restored(seen, METHODS["non-local means"]), tiles) > psnr(seen.observed, tiles) + 2).all())


def test_samplers_of_deepinv_answer_and_their_passes_are_counted(tiles: Tensor) -> None:
    pytest.importorskip("deepinv", reason="deepinv is not installed; see the extra bench")
    from benchmarks.restoration_samplers import PLUG_AND_PLAY, SAMPLERS, CountedPrior

    def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
        """D of independent pixels of mean 0 and deviation 0.5."""
        return x * 0.25 / (0.25 + sigma.reshape(-1, 1, 1, 1) ** 2)

    seen, passes = measured(tiles), 24
    for name, sampler in (SAMPLERS | PLUG_AND_PLAY).items():
        counted = CountedPrior(gaussian)
        answer = sampler(counted, seen, passes, 0)
        assert answer.shape == tiles.shape, name
        assert bool(answer.isfinite().all()), name
        assert counted.passes <= passes + 8, name
        assert counted.passes >= min(passes, 8) - 1, name
