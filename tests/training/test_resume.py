"""A run that stops and goes on is the run that never stopped."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import TinyRun

from oaml_core.config import Config, TrainConfig, validation_interval
from oaml_core.data.prepared.prepared import open_prepared
from oaml_core.errors import CheckpointError, ConfigError
from oaml_core.tracking import read_metrics
from oaml_core.training.checkpoints import read_checkpoint
from oaml_core.training.keeper import CheckpointKeeper
from oaml_core.training.loop import Interrupted, TrainingLoop, validation_batches
from oaml_core.training.resume import Position
from oaml_core.training.world import World

ONE_EPOCH = ("--optim.epochs", "1", "--optim.accumulate_grad_batches", "5", "--train.val_every_epochs", "0.5")


class StoppedAt(CheckpointKeeper):
    """Sends SIGTERM to this process when the checkpoint of step `stop` is handed over."""

    stop = -1

    def save(self, state: Mapping[str, Any], step: int, *, best: bool = False) -> None:
        super().save(state, step, best=best)
        if step == self.stop and not best:
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture(autouse=True)
def sigterm() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def loop(tiny: TinyRun, folder: Path, *options: str, stop: int = -1) -> TrainingLoop:
    keeper = StoppedAt(folder / "checkpoints", None, "", 10)
    keeper.stop = stop
    folder.mkdir(exist_ok=True)
    return TrainingLoop(tiny.configured(*options), open_prepared(tiny.dataset), folder, keeper, World(0, 1, 0, 1))


def test_weights_are_the_same_to_the_last_bit_wherever_the_run_was_stopped(tiny: TinyRun, tmp_path: Path) -> None:
    whole = loop(tiny, tmp_path / "whole", *ONE_EPOCH)
    whole.run()
    # After an accumulated step; before the validation that is due there, which the next try makes up for.
    for stop in (5, 10):
        folder = tmp_path / str(stop)
        with pytest.raises(Interrupted):
            loop(tiny, folder, *ONE_EPOCH, stop=stop).run()
        saved = {int(path.stem.rpartition("-")[2]) for path in (folder / "checkpoints").glob("step-*.ckpt")}
        assert saved <= {5, 10, 12}, "no checkpoint while gradients wait for further batches"
        again = loop(tiny, folder, *ONE_EPOCH)
        again.run()
        for name, value in whole.module.state_dict().items():
            assert torch.equal(again.module.state_dict()[name], value), name
        assert again.metrics == whole.metrics
        logged, expected = (
            [(step, name, value) for step, name, value in read_metrics(one / "metrics.csv") if "second" not in name]
            for one in (folder, tmp_path / "whole")
        )
        wanted = [row for row in expected if "data_wait" not in row[1]]
        assert sorted(row for row in logged if "data_wait" not in row[1]) == sorted(wanted)


def test_checkpoints_of_another_configuration_are_refused_and_start_from_takes_their_weights(
    tiny: TinyRun, tmp_path: Path
) -> None:
    options = ("--optim.epochs", "1", "--data.batch_size", "96")
    first = loop(tiny, tmp_path / "first", *options)
    first.run()
    # As a user would have it who copied checkpoints to a run of his own.
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    with pytest.raises(CheckpointError, match=r"other values of optim\.lr:.*another name"):
        loop(tiny, tmp_path / "second", *options, "--optim.lr", "0.01").run()
    best = tmp_path / "first" / "checkpoints" / "best.ckpt"
    started = loop(tiny, tmp_path / "third", *options, "--optim.lr", "0.01", "--train.start_from", str(best))
    started._resume()
    weights = read_checkpoint(best)["module"]
    assert all(torch.equal(value, weights[name]) for name, value in started.module.state_dict().items())
    assert started.position.step == 0
    wider = loop(tiny, tmp_path / "fourth", *options, "--model.width", "4", "--train.start_from", str(best))
    with pytest.raises(CheckpointError, match=r"best\.ckpt is of another model: recogniser\."):
        wider._resume()


@pytest.mark.parametrize(
    ("every", "epochs", "expected"),
    [
        (1.0, 2, [(0, 10), (1, 10)]),
        (0.5, 2, [(0, 5), (0, 10), (1, 5), (1, 10)]),
        (0.3, 1, [(0, 3), (0, 6), (0, 9)]),
        (1.5, 3, [(1, 5), (2, 10)]),
        (3.0, 4, [(2, 10)]),
    ],
)
def test_validation_is_due_every_so_many_epochs(every: float, epochs: int, expected: list[tuple[int, int]]) -> None:
    found = [(epoch, batch) for epoch in range(epochs) for batch in sorted(validation_batches(every, epoch, 10))]
    assert found == expected


def test_validation_waits_for_the_end_of_an_accumulated_step() -> None:
    assert validation_batches(0.25, 0, 10, accumulate=4) == {4, 8, 10}


def test_short_runs_validate_more_often_where_asked():
    auto = TrainConfig(val_every_epochs="auto")
    assert [validation_interval(auto, epochs) for epochs in (1, 4, 5, 26)] == [0.1, 0.1, 1.0, 1.0]
    assert validation_interval(TrainConfig(val_every_epochs=0.5), 1) == 0.5
    assert len(validation_batches(validation_interval(auto, 1), 0, 100)) == 10


@pytest.mark.parametrize(
    ("tolerance", "kept"),
    [
        (0.0, [0.9, 0.95, 0.95, 0.95, 0.96]),
        (0.01, [0.9, 0.95, 0.945, 0.945, 0.96]),
    ],
)
def test_a_later_checkpoint_within_the_tolerance_of_the_highest_is_the_best(
    tolerance: float, kept: list[float]
) -> None:
    """The tolerance is counted from the highest: a run that falls a little each time is not followed down."""
    position = Position()
    published = []
    for accuracy in (0.9, 0.95, 0.945, 0.9385, 0.96):
        position.judge(accuracy, tolerance)
        published.append(position.best)
    assert published == kept
    assert (position.highest, position.worse) == (0.96, 0)


def test_validations_count_as_worse_until_the_highest_is_passed() -> None:
    position = Position()
    counted = []
    for accuracy in (0.9, 0.9, 0.899, 0.901):
        position.judge(accuracy, 0.01)
        counted.append(position.worse)
    assert counted == [0, 1, 2, 0]


@pytest.mark.parametrize("tolerance", [-0.1, 1.0])
def test_a_tolerance_is_part_of_an_accuracy(tolerance: float) -> None:
    with pytest.raises(ConfigError, match=r"train\.best_tolerance is .*\[0, 1\)"):
        replace(Config(), train=replace(TrainConfig(), best_tolerance=tolerance))
