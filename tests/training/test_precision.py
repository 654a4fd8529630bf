"""The arithmetic of a step is what the configuration asks for, on one worker as on two."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from gloo_workers import run_workers
from tiny_run import TinyRun

from oaml_core.config import Config, RestorationConfig, TrainConfig
from oaml_core.data.prepared.prepared import open_prepared
from oaml_core.restoration.prior import Prior
from oaml_core.restoration.prior_loss import PriorLoss
from oaml_core.settings import config_from_yaml, config_to_yaml
from oaml_core.training import devices
from oaml_core.training.devices import build_fabric
from oaml_core.training.keeper import CheckpointKeeper
from oaml_core.training.loop import TrainingLoop
from oaml_core.training.precision import log_product_type, training_step
from oaml_core.training.world import World


class Recorder(logging.Handler):
    """Keeps the lines of a log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def be_worker(rank: int, size: int) -> World:
    names = ("RANK", "LOCAL_RANK"), ("WORLD_SIZE", "LOCAL_WORLD_SIZE")
    os.environ |= dict.fromkeys(names[0], str(rank)) | dict.fromkeys(names[1], str(size))
    os.environ["TORCHELASTIC_RUN_ID"] = "test"
    torch.set_num_threads(1)
    return World(rank, size, rank, size)


def watched(layer: torch.nn.Module, seen: set[str]) -> None:
    layer.register_forward_hook(lambda _, __, output: seen.add(str(output.dtype)) if layer.training else None)


def heard() -> Recorder:
    recorder = Recorder()
    logger = logging.getLogger("oaml_core.training.precision")
    logger.addHandler(recorder)
    logger.setLevel(logging.INFO)
    return recorder


def recogniser_types(rank: int, size: int, recipe: str, dataset: str, folder: str) -> tuple[set[str], list[str]]:
    """Types of a feature map in training, and what the log says."""
    world = be_worker(rank, size)
    Path(folder).mkdir(exist_ok=True)
    keeper = CheckpointKeeper(Path(folder) / "checkpoints", None, "", 2)
    recorder, seen = heard(), set[str]()
    loop = TrainingLoop(config_from_yaml(recipe), open_prepared(Path(dataset)), Path(folder), keeper, world)
    convolutions = [part for part in loop.module.recogniser.backbone.modules() if isinstance(part, torch.nn.Conv2d)]
    watched(convolutions[-1], seen)
    loop.run()
    return seen, recorder.lines


def prior_types(rank: int, size: int, precision: str) -> tuple[set[str], list[str]]:
    """The same of a prior's network, in one step."""
    config = Config(
        restoration=RestorationConfig(model_channels=16, channel_mult=(1,), num_blocks=1, attention_levels=()),
        train=TrainConfig(precision=precision),  # type: ignore[arg-type]
    )
    recorder, seen = heard(), set[str]()
    fabric = build_fabric(config.train, be_worker(rank, size))
    fabric.launch()
    module = PriorLoss(Prior(config.restoration, 0), config)
    model: Any = fabric.setup(module)
    model.mark_forward_method("training_step")
    log_product_type(module.prior, fabric.device)
    watched(next(part for part in module.modules() if isinstance(part, torch.nn.Conv2d)), seen)
    tiles = torch.zeros(2, 3, 16, 16)
    fabric.backward(training_step(fabric, model, tiles, torch.zeros(2, 0), [1, 2]))
    return seen, recorder.lines


@pytest.mark.parametrize(("precision", "expected"), [("bf16", "bfloat16"), ("fp32", "float32")])
@pytest.mark.parametrize("workers", [1, 2])
def test_feature_maps_have_the_precision_asked_for(
    workers: int, precision: str, expected: str, tiny: TinyRun, tmp_path: Path
) -> None:
    options = ("--optim.epochs", "1", "--data.batch_size", "96", "--train.precision", precision)
    recipe = config_to_yaml(tiny.configured(*options))
    for seen, lines in run_workers(recogniser_types, workers, workers, recipe, str(tiny.dataset), str(tmp_path / "r")):
        assert seen == {f"torch.{expected}"}
        assert lines == [f"arithmetic: products in {expected}, weights in float32, on cpu"]


@pytest.mark.parametrize(("able", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_native_is_bfloat16_where_the_processor_multiplies_it(
    able: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "is_fast_in_bfloat16", lambda device: able)
    world = World(0, 1, 0, 1)
    assert build_fabric(TrainConfig(precision="native"), world)._precision.precision == expected
    assert build_fabric(TrainConfig(), world)._precision.precision == "32-true"


def test_bfloat16_on_a_processor_without_it_says_that_it_is_slow(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for able, told in ((True, 0), (False, 1)):
        caplog.clear()
        monkeypatch.setattr(devices, "is_fast_in_bfloat16", lambda device, able=able: able)
        build_fabric(TrainConfig(precision="bf16"), World(0, 1, 0, 1))
        assert sum("train.precision to native" in line for line in caplog.messages) == told


@pytest.mark.parametrize(("precision", "expected"), [("bf16", "bfloat16"), ("fp32", "float32")])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_prior_learns_in_the_precision_asked_for(workers: int, precision: str, expected: str) -> None:
    for seen, lines in run_workers(prior_types, workers, workers, precision):
        assert seen == {f"torch.{expected}"}
        assert lines == [f"arithmetic: products in {expected}, weights in float32, on cpu"]
