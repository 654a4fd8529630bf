"""Metrics of a run that is resumed, and of one whose disk or Weights & Biases fails."""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from full_disk import full_disk

from oaml_core.config import Config, TrackingConfig, TrainConfig
from oaml_core.line_file import LineFile
from oaml_core.tracking import Tracker, read_metrics
from oaml_core.training.resume import Position
from oaml_core.training.step_log import StepLog
from oaml_core.training.world import World

QUIET = Config(tracking=TrackingConfig(wandb="off"))
SAMPLES = replace(QUIET, train=TrainConfig(log_samples=True))


def test_what_is_done_again_has_one_row(tmp_path: Path) -> None:
    first = Tracker(QUIET, tmp_path)
    for step in range(8):  # killed after the checkpoint of 5 batches and their validation, in the step of batch 7
        first.log(step, {"loss": float(step)})
        if step == 4:
            first.log(5, {"val_acc": 0.5})
    first.close()
    again = Tracker(QUIET, tmp_path, 5, repeats=lambda name: not name.startswith("val"))
    for step in range(5, 8):
        again.log(step, {"loss": float(step)})
    again.close()
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [step for step, name, _ in rows if name == "loss"] == list(range(8))
    assert [row for row in rows if row[1] == "val_acc"] == [(5, "val_acc", 0.5)]


def test_rows_that_stand_there_twice_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,name,value\n1,loss,0.5\n1,loss,0.25\n2,loss,0.125\n")
    Tracker(QUIET, tmp_path, 2).close()
    assert read_metrics(tmp_path / "metrics.csv") == [(1, "loss", 0.25), (2, "loss", 0.125)]


def test_a_full_disk_delays_rows_and_loses_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = Tracker(QUIET, tmp_path)
    tracker.log(0, {"loss": 1.0})
    with full_disk((tmp_path / "metrics.csv").stat().st_size + 5):
        for step in range(1, 50):
            tracker.log(step, {"loss": float(step)})
    assert [step for step, _, _ in read_metrics(tmp_path / "metrics.csv")] == [0], "no torn row"
    assert len([record for record in caplog.records if "Its lines wait" in record.message]) == 1
    tracker.log(50, {"loss": 50.0})
    tracker.close()
    assert [step for step, _, _ in read_metrics(tmp_path / "metrics.csv")] == list(range(51))


@pytest.mark.parametrize("kind", ["metrics.csv", "samples-0.jsonl"])
def test_the_end_of_a_run_waits_for_a_full_disk(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = Tracker(QUIET, tmp_path)
    steps = StepLog(SAMPLES, tmp_path, World(0, 1, 0, 1), None, tracker, 1)  # type: ignore[arg-type]
    writer = {"metrics.csv": tracker, "samples-0.jsonl": steps}[kind]
    with ExitStack() as full:
        full.enter_context(full_disk(0))
        tracker.log(0, {"loss": 1.0})
        steps.samples(SimpleNamespace(samples=torch.arange(3)), Position())  # type: ignore[arg-type]
        monkeypatch.setattr("oaml_core.line_file.time.sleep", lambda _: full.close())
        writer.close()
    assert (tmp_path / kind).read_text().count("\n") == (2 if kind == "metrics.csv" else 1)
    assert "lacks" not in caplog.text


def test_a_disk_that_is_full_from_the_start_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with full_disk(0):
        tracker = Tracker(QUIET, tmp_path)
        tracker.log(0, {"loss": 1.0})
        monkeypatch.setattr("oaml_core.line_file.PATIENCE_SECONDS", 0.3)
        tracker.close()
    assert "lacks 1 lines" in caplog.text
    tracker.close()
    assert read_metrics(tmp_path / "metrics.csv") == [(0, "loss", 1.0)]


def test_lines_that_memory_does_not_hold_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("oaml_core.line_file.MOST_WAITING", 3)
    file = LineFile(tmp_path / "lines")
    with full_disk(0):
        file.add(*"abcde")
    file.close()
    assert (tmp_path / "lines").read_text().split() == ["c", "d", "e"]
    assert "lacks 2 lines" in caplog.text


def test_a_copy_that_fails_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def log(values: dict[str, Any], step: int) -> None:
        if step == 1:
            raise OSError("No space left on device")

    def finish() -> None:
        raise RuntimeError("finish")

    run = SimpleNamespace(log=log, finish=finish)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **_: run, Settings=dict))
    tracker = Tracker(Config(tracking=TrackingConfig(wandb="offline")), tmp_path)
    with caplog.at_level(logging.WARNING):
        for step in range(3):
            tracker.log(step, {"loss": float(step)})
        tracker.close()
    assert len(read_metrics(tmp_path / "metrics.csv")) == 3
    assert "lacks the steps from 1 on" in caplog.text


def test_pictures_go_to_weights_and_biases_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[dict[str, Any], int]] = []
    run = SimpleNamespace(log=lambda values, step: shown.append((values, step)), finish=lambda: None)
    image = SimpleNamespace(init=lambda **_: run, Settings=dict, Image=lambda path: f"picture of {path}")
    monkeypatch.setitem(sys.modules, "wandb", image)
    tracker = Tracker(Config(tracking=TrackingConfig(wandb="offline")), tmp_path)
    tracker.picture(0, "samples", tmp_path / "samples.png")
    tracker.close()
    Tracker(QUIET, tmp_path).picture(0, "samples", tmp_path / "samples.png")
    assert shown == [({"samples": f"picture of {tmp_path / 'samples.png'}"}, 0)]
    assert read_metrics(tmp_path / "metrics.csv") == []
