"""A step of training asks nothing of the device: its values, and sizes that depend on them, stay there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from oaml_core.config import Config, DataConfig, LossConfig, ModelConfig, OptimConfig, TrainConfig
from oaml_core.data.batches.training_faces import TrainingBatch
from oaml_core.training.devices import build_fabric
from oaml_core.training.module import RecognitionModule
from oaml_core.training.optimisation import build_optimiser
from oaml_core.training.resume import Position
from oaml_core.training.step import Stepper
from oaml_core.training.world import World

ALONE = World(0, 1, 0, 1)
READING = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "unique_dim", "_unique2"}
READING |= {"unique_consecutive", "repeat_interleave", "bincount"}
"""Operations whose result, or its size, the host has to wait for on a GPU."""
CONFIG = Config(
    data=DataConfig(batch_size=4, num_instances=2),
    model=ModelConfig(arch="ir_mini", width=4),
    optim=OptimConfig(lr=0.01, gradient_clip_norm=1.0),
    train=TrainConfig(precision="fp32"),
)
CASES = {
    "adaface alone": replace(CONFIG, loss=LossConfig(qaconv_loss_weight=0, visibility_loss_weight=0)),
    "default": CONFIG,
    "class embeddings": replace(CONFIG, loss=LossConfig(softmax_triplet_loss_weight=0.5)),
    "accumulated": replace(CONFIG, optim=OptimConfig(lr=0.01, accumulate_grad_batches=2)),
    "half precision": replace(CONFIG, train=TrainConfig(precision="bf16")),
}


class HostReads(TorchDispatchMode):
    """Counts operations that a GPU would make the host wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.name().removeprefix("aten::").partition(".")[0]
        by_mask = name in ("index", "index_put", "index_put_") and any(
            isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in READING or by_mask:
            self.found[name] += 1
        return function(*args, **(kwargs or {}))


@contextmanager
def host_reads() -> Iterator[Counter[str]]:
    """Counts them, and the calls that fetch a whole tensor."""
    with HostReads() as mode:
        whole = {name: getattr(Tensor, name) for name in ("tolist", "item", "cpu")}

        def counting(name: str) -> Any:
            def call(self: Tensor, *args: Any, **kwargs: Any) -> Any:
                mode.found[name] += 1
                return whole[name](self, *args, **kwargs)

            return call

        with patch.multiple(Tensor, **{name: counting(name) for name in whole}):
            yield mode.found


def stepper_of(config: Config) -> Stepper:
    fabric = build_fabric(config.train, ALONE)
    fabric.launch()
    torch.manual_seed(0)
    module = RecognitionModule(config, 6, ALONE)
    model, optimiser = fabric.setup(module, build_optimiser(config, module))
    model.mark_forward_method("training_step")
    return Stepper(config, fabric, module, model, optimiser, ALONE, batches_per_epoch=8)


def batch_of(device: torch.device) -> TrainingBatch:
    images = torch.randint(0, 256, (4, 3, 112, 112), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    parts = images, torch.ones(4, 1, 7, 7), torch.tensor([0, 0, 1, 1]), torch.arange(4)
    return TrainingBatch(*(part.to(device) for part in parts))


@pytest.mark.parametrize("case", sorted(CASES))
def test_a_step_reads_nothing_back(case: str) -> None:
    stepper = stepper_of(CASES[case])
    batch = batch_of(torch.device("cpu"))
    for step in range(2):
        stepper.take(batch, Position(batch=step, step=step))
    with host_reads() as found:
        for step in range(2, 6):
            stepper.take(batch, Position(batch=step, step=step))
    assert not found


def test_the_counter_counts() -> None:
    with host_reads() as found:
        values = torch.arange(3.0)
        assert values.sum().item() == 3
        assert values[values > 0].tolist() == [1, 2]
    assert {"item", "tolist", "_local_scalar_dense", "index"} <= set(found)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("case", sorted(CASES))
def test_a_step_never_waits_for_the_gpu(case: str) -> None:
    stepper = stepper_of(CASES[case])
    batch = batch_of(stepper.fabric.device)
    for step in range(4):
        stepper.take(batch, Position(batch=step, step=step))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(4, 8):
            stepper.take(batch, Position(batch=step, step=step))
    finally:
        torch.cuda.set_sync_debug_mode("default")
