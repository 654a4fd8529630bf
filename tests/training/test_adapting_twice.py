"""One command gives the same weights again, to the last bit, from nothing but weights and faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_worker_counts import NEWEST, trained
from tiny_run import TinyRun

from oaml_core.models.build import build_backbone
from oaml_core.training.checkpoints import read_checkpoint

ADAPT = {
    "model.freeze_backbone": "true",
    "model.local_layers": "2",
    "model.matcher": "pooled_alone",
    "model.visibility_map": "early",
    "loss.adaface_loss_weight": "0",
    "loss.qaconv_loss_weight": "1",
    "loss.pairwise_gradient_share": "0.1",
    "loss.matching_visibility": "drawn",
    "loss.distillation_loss_weight": "20",
    "loss.contrastive_distillation_loss_weight": "3",
    "loss.targets_known": "true",
    "loss.targets_fused": "true",
    "loss.visibility_loss_weight": "100",
    "optim.optimiser": "adamw",
    "optim.lr": "0.001",
    "optim.matcher_scale_lr": "30",
    "optim.gradient_clip_norm": "5",
    "train.average_decay": "0.98",
    "augment.mask_prob": "0.8",
    "augment.camera_prob": "0.3",
    "augment.edge_prob": "0.3",
}


def adapted(weights: Path, folder: Path, workers: int, *options: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights and their mean after an adaptation in `folder`, which prepares its own data."""
    folder.mkdir()
    words = [word for name, value in ADAPT.items() for word in (f"--{name}", value)]
    run = trained(TinyRun(folder), folder / "run", workers, *words, "--model.weights", str(weights), *options)
    found = read_checkpoint(run / NEWEST)
    return found["module"], found["average"]["used"]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_adaptation_from_nothing_gives_the_same_weights_twice(workers: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = build_backbone("ir_mini", width=8).state_dict()
    weights = tmp_path / "backbone.pt"
    torch.save(start, weights)
    first, second = (adapted(weights, tmp_path / name, workers) for name in ("first", "second"))
    other = adapted(weights, tmp_path / "other", workers, "--seed", "1")
    for one, again, otherwise in zip(first, second, other, strict=True):
        assert [name for name in one if not torch.equal(one[name], again[name])] == []
        assert any(not torch.equal(one[name], otherwise[name]) for name in one), "the seed decides"
    backbone = {name.removeprefix("recogniser.backbone."): value for name, value in first[0].items()}
    assert all(torch.equal(backbone[name], value) for name, value in start.items()), "the backbone stays as it is"
