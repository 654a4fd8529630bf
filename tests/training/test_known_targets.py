"""Distillation targets that are computed once: the same as those of every step, whoever computes them."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from test_adaptation import ADAPT, adapting, batch, module_of
from tiny_run import TinyRun

from oaml_core.config import AugmentConfig, Config
from oaml_core.data.batches.plan import SampleKey
from oaml_core.data.batches.training_faces import TrainingFaces, collate
from oaml_core.data.prepared.prepared import open_prepared
from oaml_core.errors import ConfigError
from oaml_core.models.recogniser import Recogniser
from oaml_core.training.keeper import CheckpointKeeper
from oaml_core.training.known_targets import known_targets
from oaml_core.training.loop import Interrupted, TrainingLoop
from oaml_core.training.world import World

FACES = 150
"""Three blocks, the last one not full."""


class Drawn:
    """Faces of noise, as a prepared data set gives them."""

    image_size = 112
    landmarks = None
    labels = np.zeros(FACES, np.int64)

    def read(self, number: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(number)
        return torch.randint(0, 256, (3, 112, 112), generator=generator, dtype=torch.uint8)

    def read_batch(self, numbers: Sequence[int]) -> torch.Tensor:
        return torch.stack([self.read(number) for number in numbers])

    def __len__(self) -> int:
        return FACES


class Exchange:
    """Fabric of one of two workers, whose sum is made by hand."""

    device = torch.device("cpu")
    autocast = staticmethod(Fabric(accelerator="cpu", devices=1).autocast)

    def all_reduce(self, part: torch.Tensor, reduce_op: str) -> torch.Tensor:
        assert reduce_op == "sum"
        return part


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return replace(adapting(tmp_path), loss=replace(ADAPT, targets_known=True))


def test_workers_that_share_the_work_have_the_targets_of_one_to_the_last_bit(config: Config) -> None:
    recogniser, faces, exchange = module_of(config).recogniser, Drawn(), Exchange()
    alone = known_targets(faces, recogniser, exchange, World(0, 1, 0, 1)).embeddings  # type: ignore[arg-type]
    parts = [
        known_targets(faces, recogniser, exchange, World(rank, 2, rank, 2)).embeddings  # type: ignore[arg-type]
        for rank in (0, 1)
    ]

    assert alone.shape == (2, FACES, recogniser.backbone.embedding_size)
    assert torch.equal(parts[0] + parts[1], alone)
    assert all(bool((part == 0).any(-1).any()) for part in parts), "one worker did all of the work"
    torch.testing.assert_close(alone.norm(dim=2), torch.ones(2, FACES))
    assert recogniser.training


def test_the_targets_are_exact_whatever_the_precision_of_the_steps(config: Config) -> None:
    recogniser, faces, alone = module_of(config).recogniser, Drawn(), World(0, 1, 0, 1)
    exact, rounded = (
        known_targets(faces, recogniser, Fabric(accelerator="cpu", devices=1, precision=precision), alone)  # type: ignore[arg-type]
        for precision in ("32-true", "bf16-mixed")
    )
    assert torch.equal(exact.embeddings, rounded.embeddings)


def test_a_step_with_known_targets_learns_what_a_step_without_learns(config: Config) -> None:
    given = batch()
    assert given.clean is not None
    flipped = torch.tensor([0, 1, 0, 1])
    clean = torch.where(flipped[:, None, None, None] == 1, given.clean.flip(3), given.clean)
    plain = module_of(replace(config, loss=ADAPT)).training_step(given._replace(clean=clean)).terms
    module = module_of(config)
    module.targets = known_targets(_Few(given.clean), module.recogniser, Exchange(), World(0, 1, 0, 1))  # type: ignore[arg-type]
    known = module.training_step(given._replace(clean=None, mirrored=flipped)).terms
    torch.testing.assert_close(known, plain)


def test_a_face_and_its_mirror_image_can_have_one_target(config: Config) -> None:
    recogniser, one = module_of(config).recogniser, World(0, 1, 0, 1)
    apart = known_targets(Drawn(), recogniser, Exchange(), one).embeddings  # type: ignore[arg-type]
    fused = known_targets(Drawn(), recogniser, Exchange(), one, fused=True).embeddings  # type: ignore[arg-type]
    assert not torch.allclose(apart[0], apart[1])
    for side in (0, 1):
        torch.testing.assert_close(fused[side], torch.nn.functional.normalize(apart[0] + apart[1], dim=1))


def test_contrastive_distillation_is_a_term_of_the_loss_and_teaches_the_local_layers(config: Config) -> None:
    given = batch()
    assert given.clean is not None
    loss = replace(ADAPT, targets_known=True, contrastive_distillation_loss_weight=3.0)
    module = module_of(replace(config, loss=loss))
    targets = known_targets(_Few(given.clean, given.labels), module.recogniser, Exchange(), World(0, 1, 0, 1))  # type: ignore[arg-type]
    module.targets = targets
    terms = module.training_step(given._replace(clean=None, mirrored=torch.zeros(4, dtype=torch.int64))).terms

    without = {name: term for name, term in terms.items() if name != "contrastive_distillation"}
    expected = module.total(without) + 3 * terms["contrastive_distillation"]
    torch.testing.assert_close(module.total(terms), expected)
    assert terms["contrastive_distillation"] > 0
    terms["contrastive_distillation"].backward()
    assert module.recogniser.local_layers is not None
    assert any(float(p.grad.abs().sum()) > 0 for p in module.recogniser.local_layers.parameters() if p.grad is not None)


class _Few:
    def __init__(self, images: torch.Tensor, labels: torch.Tensor | None = None) -> None:
        self.read_batch = lambda numbers: images[list(numbers)]
        self.labels = np.zeros(len(images), np.int64) if labels is None else labels.numpy()
        self._count = len(images)

    def __len__(self) -> int:
        return self._count


def test_a_batch_says_which_faces_are_mirrored_in_place_of_bringing_them() -> None:
    keys = [SampleKey(number, seed=100 + number) for number in range(20)]
    augment = AugmentConfig(mask_prob=0.5)
    plain, known = (
        collate([TrainingFaces(Drawn(), augment, with_clean=True, targets_known=one)[key] for key in keys])  # type: ignore[arg-type]
        for one in (False, True)
    )
    assert known.clean is None
    assert plain.clean is not None
    assert known.mirrored is not None
    assert torch.equal(known.images, plain.images)
    assert 3 < int(known.mirrored.sum()) < 17
    for key, mirrored, clean in zip(keys, known.mirrored, plain.clean, strict=True):
        as_it_is = Drawn().read(key.image)
        assert torch.equal(clean, as_it_is.flip(2) if mirrored else as_it_is)


@pytest.mark.parametrize(
    "asked",
    [{"targets_fused": True}, {"contrastive_distillation_loss_weight": 1.0}],
    ids=lambda asked: next(iter(asked)),
)
def test_what_needs_the_targets_of_all_faces_says_so(config: Config, asked: Any) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(asked))}.*targets_known"):
        replace(config, loss=replace(ADAPT, **asked))


@pytest.mark.parametrize(
    ("model", "augment", "key"),
    [
        ({"freeze_backbone": False}, {}, "model.freeze_backbone"),
        ({}, {"rect_crop_prob": 0.5}, "augment.rect_crop_prob"),
    ],
)
def test_targets_that_cannot_be_known_are_refused(config: Config, model: Any, augment: Any, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        replace(config, model=replace(config.model, **model), augment=AugmentConfig(**augment))


def test_sigterm_ends_the_search_for_targets(
    config: Config, tiny: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes minutes, and nothing would be lost with it."""
    described: list[int] = []

    def describe(self: Recogniser, images: torch.Tensor) -> torch.Tensor:
        described.append(len(images))
        signal.raise_signal(signal.SIGTERM)
        return torch.zeros(len(images), 128)

    monkeypatch.setattr(Recogniser, "describe_globally", describe)
    config, dataset = replace(config, data=tiny.configured().data), open_prepared(tiny.dataset)
    keeper = CheckpointKeeper(tmp_path / "checkpoints", None, "", 3)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(Interrupted):
            TrainingLoop(config, dataset, tmp_path, keeper, World(0, 1, 0, 1)).run()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(described) == 1
