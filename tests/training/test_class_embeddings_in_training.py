"""Class embeddings in the training step: what they train, that they resume, that workers agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from gloo_workers import run_workers
from torch import Tensor

from oaml_core.config import Config, LossConfig, ModelConfig
from oaml_core.data.batches.training_faces import TrainingBatch
from oaml_core.errors import ConfigError
from oaml_core.training.module import RecognitionModule
from oaml_core.training.world import World

CONFIG = Config(
    model=ModelConfig(arch="ir_mini", width=4, k_nearest=2), loss=LossConfig(softmax_triplet_loss_weight=0.5)
)
ALONE = World(0, 1, 0, 1)
NEAREST = np.array([[1], [2], [3], [0]])


def fresh(world: World = ALONE, config: Config = CONFIG) -> RecognitionModule:
    torch.manual_seed(0)
    module = RecognitionModule(config, 4, world)
    module.begin_epoch(lambda classes, count: NEAREST[classes, :count])
    return module


def drawn(seed: int, rows: slice = slice(None)) -> TrainingBatch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (7, 3, 112, 112), generator=generator, dtype=torch.uint8)
    visibility, labels = torch.rand(7, 1, 7, 7, generator=generator), torch.tensor([0, 0, 1, 1, 2, 2, 3])
    return TrainingBatch(images[rows], visibility[rows], labels[rows], torch.arange(7)[rows])


def test_the_term_trains_backbone_and_matcher_once_classes_are_known() -> None:
    module = fresh()
    assert module.training_step(drawn(0)).metrics["class_accuracy"] == 0, "no class was known"
    result = module.training_step(drawn(1))
    assert result.metrics["class_accuracy"] > 0
    result.terms["softmax_triplet"].backward()
    for part in (module.recogniser.backbone, module.recogniser.matcher):
        assert any(p.grad is not None and p.grad.any() for p in part.parameters())
    assert all(p.grad is None or not p.grad.any() for p in module.recogniser.visibility_head.parameters())


def test_the_total_counts_it_by_its_weight() -> None:
    module = fresh()
    terms = {"adaface": torch.tensor(1.0), "qaconv": torch.tensor(10.0), "visibility": torch.tensor(100.0)}
    assert module.total(terms).item() == pytest.approx(0.1 + 9 + 10)
    assert module.total(terms | {"softmax_triplet": torch.tensor(1000.0)}).item() == pytest.approx(519.1)


def test_a_resumed_module_goes_on_with_the_same_classes() -> None:
    module, resumed = fresh(), fresh()
    module.training_step(drawn(0))
    resumed.load_state_dict(module.state_dict())
    terms = [m.training_step(drawn(1)).terms["softmax_triplet"] for m in (module, resumed)]
    assert torch.equal(*terms)
    assert terms[0] > 0


def steps(rank: int, slices: list[slice]) -> tuple[list[float], Tensor, Tensor]:
    """Terms of three batches and the class embeddings after them, of one worker."""
    module = fresh(World(rank, len(slices), rank, len(slices))).eval()  # batch normalisation would see the slice
    terms = [module.training_step(drawn(seed, slices[rank])).terms["softmax_triplet"].item() for seed in range(3)]
    assert module.classes is not None
    return terms, module.classes.maps, module.classes.seen


def test_two_workers_learn_the_same_classes_as_one() -> None:
    alone = steps(0, [slice(None)])
    several = run_workers(steps, 2, [slice(3), slice(3, None)])
    np.testing.assert_allclose(np.mean([terms for terms, _, _ in several], 0), alone[0], rtol=1e-4)
    for _, maps, seen in several:
        torch.testing.assert_close(maps, alone[1], rtol=0, atol=1e-3)
        assert torch.equal(seen, alone[2])


def test_without_the_loss_no_embeddings_are_kept_and_too_large_ones_are_refused() -> None:
    without = replace(CONFIG, loss=LossConfig())
    assert not [name for name in fresh(config=without).state_dict() if name.startswith("classes")]
    small = replace(CONFIG, loss=replace(CONFIG.loss, class_embeddings_gib=1e-6))
    with pytest.raises(ConfigError, match="class_embeddings_gib"):
        fresh(config=small)
