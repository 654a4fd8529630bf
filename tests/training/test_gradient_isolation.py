"""Which loss trains which part of the recogniser."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from oaml_core.config import Config, ModelConfig
from oaml_core.data.batches.training_faces import TrainingBatch
from oaml_core.training.module import RecognitionModule
from oaml_core.training.world import World

CONFIG = Config(model=ModelConfig(arch="ir_mini", width=4))


def parts_trained_by(term: str, config: Config = CONFIG) -> set[str]:
    """Parts of the module that the loss `term` gives a gradient other than zero."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    module = RecognitionModule(config, 3, World(0, 1, 0, 1))
    batch = TrainingBatch(
        torch.randint(0, 256, (6, 3, 112, 112), generator=generator, dtype=torch.uint8),
        torch.rand(6, 1, 7, 7, generator=generator),
        torch.tensor([0, 0, 1, 1, 2, 2]),
        torch.arange(6),
    )
    module.training_step(batch).terms[term].backward()
    parts = {
        "backbone": module.recogniser.backbone,
        "visibility head": module.recogniser.visibility_head,
        "matcher": module.recogniser.matcher,
        "classifier": module.head,
    }
    trained = {
        name for name, part in parts.items() for p in part.parameters() if p.grad is not None and p.grad.abs().sum() > 0
    }
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
    return trained


@pytest.mark.parametrize(
    ("term", "parts"),
    [
        ("adaface", {"backbone", "classifier"}),
        ("qaconv", {"backbone", "matcher"}),
        ("visibility", {"visibility head"}),
    ],
)
def test_each_loss_trains_its_parts_and_no_other(term: str, parts: set[str]) -> None:
    assert parts_trained_by(term) == parts


def test_visibility_trains_the_backbone_when_asked_to_and_matching_still_leaves_its_head_alone() -> None:
    asked = replace(CONFIG, model=replace(CONFIG.model, visibility_trains_backbone=True))
    assert parts_trained_by("visibility", asked) == {"backbone", "visibility head"}
    assert parts_trained_by("qaconv", asked) == {"backbone", "matcher"}


def test_whichever_matcher_it_is_its_losses_train_it_and_the_backbone() -> None:
    config = replace(
        CONFIG,
        model=replace(CONFIG.model, matcher="transmatcher"),
        loss=replace(CONFIG.loss, softmax_triplet_loss_weight=1.0),
    )
    for term in ("qaconv", "softmax_triplet"):
        assert parts_trained_by(term, config) == {"backbone", "matcher"}
