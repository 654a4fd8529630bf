"""One, two and three workers: the same batches, the same gradients, the same metrics."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from consumption import consumed
from gloo_workers import run_workers
from tiny_run import TinyRun

from oaml_core.data.prepared.prepared import open_prepared
from oaml_core.settings import config_from_yaml, config_to_yaml
from oaml_core.tracking import read_metrics
from oaml_core.training.checkpoints import read_checkpoint
from oaml_core.training.keeper import CheckpointKeeper
from oaml_core.training.loop import TrainingLoop
from oaml_core.training.trained import load_trained
from oaml_core.training.validation import validate
from oaml_core.training.world import World

NEWEST = "checkpoints/step-0000000006.ckpt"
ONE_EPOCH = ("--data.batch_size", "32", "--optim.epochs", "1", "--evaluate.batch_size", "6")


def train(rank: int, size: int, recipe: str, dataset: str, run_dir: str, dropout: bool) -> None:
    names = ("RANK", "LOCAL_RANK"), ("WORLD_SIZE", "LOCAL_WORLD_SIZE")
    os.environ |= dict.fromkeys(names[0], str(rank)) | dict.fromkeys(names[1], str(size))
    os.environ["TORCHELASTIC_RUN_ID"] = "test"
    torch.set_num_threads(1)
    folder = Path(run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = run_dir
    keeper = CheckpointKeeper(folder / "checkpoints", None, "", 2)
    world = World(rank, size, rank, size)
    loop = TrainingLoop(config_from_yaml(recipe), open_prepared(Path(dataset)), folder, keeper, world)
    for part in loop.module.modules():
        if isinstance(part, torch.nn.Dropout) and not dropout:
            part.p = 0.0
    loop.run()


def score(rank: int, size: int, recipe: str, dataset: str, checkpoint: str) -> dict[str, float]:
    model = load_trained(Path(checkpoint)).recogniser
    sets = open_prepared(Path(dataset)).verification
    world = World(rank, size, rank, size)
    return validate(model, sets, config_from_yaml(recipe), world, torch.device("cpu")).accuracies


def losses(run_dir: Path) -> dict[str, np.ndarray]:
    rows = read_metrics(run_dir / "metrics.csv")
    names = {name for _, name, _ in rows if name.startswith(("loss", "gradient"))}
    return {name: np.array([value for _, other, value in rows if other == name]) for name in names}


def trained(tiny: TinyRun, folder: Path, size: int, *options: str, dropout: bool = True) -> Path:
    recipe = config_to_yaml(tiny.configured(*ONE_EPOCH, *options))
    run_workers(train, size, size, recipe, str(tiny.dataset), str(folder), dropout)
    return folder


def test_with_batch_norm_over_the_global_batch_the_curves_are_the_same(tiny: TinyRun, tmp_path: Path) -> None:
    options = ("--train.sync_batchnorm", "true", "--optim.lr", "0.01")
    runs = [trained(tiny, tmp_path / str(size), size, *options, dropout=False) for size in (1, 2, 3)]
    alone = losses(runs[0])
    assert len(alone["loss"]) == 6
    for run in runs[1:]:
        assert consumed(run) == consumed(runs[0])
        assert not list(run.glob("oaml-plans-*")), "shared plans are removed at the end"
        curves = losses(run)
        for name in ("loss/adaface", "loss/visibility"):
            assert curves[name][0] == pytest.approx(alone[name][0], rel=1e-4)
        for name, curve in curves.items():
            # The matcher normalises over each worker's own probes, and what differs is carried on through 6 steps.
            np.testing.assert_allclose(curve, alone[name], rtol=0.15 if name == "gradient_norm" else 0.03, err_msg=name)


def test_with_batch_norm_over_slices_the_curves_stay_near(tiny: TinyRun, tmp_path: Path) -> None:
    runs = [trained(tiny, tmp_path / str(size), size) for size in (1, 2, 3)]
    alone = losses(runs[0])["loss"]
    for run in runs[1:]:
        assert consumed(run) == consumed(runs[0])
        # Batch normalisation sees 8 to 16 images instead of 32, and dropout draws others.
        ratio = losses(run)["loss"] / alone
        assert np.abs(ratio - 1).max() < 0.4
        assert np.abs(ratio.mean() - 1) < 0.15


def test_the_statistics_do_not_depend_on_when_checkpoints_were_written(tiny: TinyRun, tmp_path: Path) -> None:
    often, seldom = (
        read_checkpoint(trained(tiny, tmp_path / every, 2, "--train.checkpoint_every_steps", every) / NEWEST)["module"]
        for every in ("1", "4")
    )
    assert any(name.endswith("running_mean") for name in often)
    assert [name for name in often if not torch.equal(often[name], seldom[name])] == []


def test_metrics_of_one_model_are_equal_on_any_number_of_workers(tiny: TinyRun, tmp_path: Path) -> None:
    run = trained(tiny, tmp_path / "run", 1)
    recipe = config_to_yaml(tiny.configured(*ONE_EPOCH))
    arguments = (recipe, str(tiny.dataset), str(run / "checkpoints" / "best.ckpt"))
    found: list[Any] = [run_workers(score, size, size, *arguments) for size in (1, 2, 3)]
    assert {"val_acc", "val/synthetic/global", "val/synthetic/local", "val/synthetic/combined"} == set(found[0][0])
    for workers in found:
        assert all(metrics == pytest.approx(found[0][0], abs=1e-12) for metrics in workers)
