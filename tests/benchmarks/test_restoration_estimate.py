"""The estimate of a prior's needs counts what a real training step keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.restoration_estimate import step
from oaml_core.config import RestorationConfig

TINY = RestorationConfig(
    tile_size=8, model_channels=4, channel_mult=(1, 2), num_blocks=1, attention_levels=(1,), dropout=0.0
)


def test_a_step_without_values_keeps_what_a_real_one_keeps_and_grows_with_the_tile() -> None:
    counted, real = step(TINY, "meta"), step(TINY, "cpu")
    assert counted.kept == pytest.approx(real.kept, rel=0.1)  # implementations of attention differ
    assert counted.flops == pytest.approx(real.flops, rel=0.02)
    larger = step(replace(TINY, tile_size=16), "meta")
    assert larger.kept > 3.5 * counted.kept
    assert larger.parameters == counted.parameters
