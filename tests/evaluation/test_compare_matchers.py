"""`oaml compare-matchers`: all matchers on the same maps, side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from oaml_core.cli import main
from oaml_core.config import ModelConfig
from oaml_core.data.batches.plan import BatchSampler
from oaml_core.evaluation.own_faces.compare_matchers import (
    MatchedBatch,
    attribute_check,
    compare_matchers,
    format_figures,
)
from oaml_core.models.build import build_matcher


def drawn(seed: int) -> MatchedBatch:
    """Six identities of four images each, told apart with some effort."""
    generator = torch.Generator().manual_seed(seed)
    identities = torch.randn(6, 16, 4, 4, generator=generator)
    maps = identities.repeat_interleave(4, 0) + 0.7 * torch.randn(24, 16, 4, 4, generator=generator)
    return MatchedBatch(maps, torch.ones(24, 1, 4, 4), torch.arange(6).repeat_interleave(4))


def test_all_matchers_learn_and_are_looked_at_on_the_same_maps() -> None:
    qaconv, transmatcher, pooled, alone = compare_matchers(drawn(0), drawn(1), ModelConfig(), steps=10)
    names = [found.name for found in (qaconv, transmatcher, pooled, alone)]
    assert names == ["qaconv", "transmatcher", "pooled", "pooled_alone"]
    assert qaconv.auc > 0.9
    assert qaconv.genuine > qaconv.impostor
    assert qaconv.parameters < transmatcher.parameters
    assert min(qaconv.step_ms, transmatcher.step_ms, pooled.step_ms, qaconv.pairs_ms) > 0
    table = format_figures([qaconv, transmatcher, pooled])
    assert f"{100 * qaconv.auc:.2f} %" in table
    assert "memory" in table


def test_a_trained_matcher_stands_for_its_kind_and_is_left_as_it_is() -> None:
    trained = build_matcher(ModelConfig(), 16, (4, 4))
    with torch.no_grad():
        trained.get_submodule("logit_bn").bias.fill_(100.0)
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    qaconv, transmatcher, *_ = compare_matchers(drawn(0), drawn(1), ModelConfig(), steps=0, trained=trained)
    assert qaconv.impostor > 90 > transmatcher.impostor
    torch.testing.assert_close(dict(trained.state_dict()), before, rtol=0, atol=0)


def test_the_sampler_has_what_lightning_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.arange(8).repeat(4)
    assert "ALL ATTRIBUTES PRESENT" in attribute_check(labels, 16, 4)
    monkeypatch.delattr(BatchSampler, "prefetch_factor")
    assert attribute_check(labels, 16, 4).endswith("MISSING ATTRIBUTES: prefetch_factor")


def test_the_command_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {
        "name": "compared",
        "store": str(tmp_path / "store"),
        "work_dir": str(tmp_path / "work"),
        "data.batch_size": "8",
        "data.num_instances": "2",
        "data.num_workers": "0",
        "data.synthetic_identities": "8",
        "data.synthetic_images_per_identity": "4",
        "data.synthetic_pairs": "20",
        "model.arch": "ir_mini",
        "model.width": "4",
    }
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    with pytest.raises(SystemExit) as ended:
        main(["compare-matchers", *words, "--steps", "1"])
    assert not ended.value.code
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("qaconv", "transmatcher", "genuine above impostor", "forward and backward"))
