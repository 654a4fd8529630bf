"""Charts of a validation's scores in Weights & Biases, by its own types: histograms and ROC."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb

from oaml_core.config import Config, TrackingConfig
from oaml_core.evaluation.statistics.roc import auc, roc
from oaml_core.tracking import Tracker
from oaml_core.training.validation import ScoredPairs, show_scores

GENUINE, IMPOSTORS = np.linspace(0.2, 0.9, 50), np.linspace(-0.5, 0.4, 70)
SCORED = ScoredPairs(
    {
        "global": np.concatenate([GENUINE, IMPOSTORS]),
        "local": 10 * np.concatenate([IMPOSTORS[:50], GENUINE, GENUINE[:20]]),
    },
    np.arange(120) < 50,
)


class StrictRun:
    """Takes what a run of Weights & Biases takes: steps that do not fall, numbers, and its own types."""

    def __init__(self) -> None:
        self.shown: dict[str, Any] = {}
        self.step = 0

    def log(self, values: dict[str, Any], step: int) -> None:
        assert step >= self.step, "Weights & Biases drops what comes late"
        self.step = step
        for name, value in values.items():
            assert isinstance(value, (float, wandb.Histogram, wandb.Image)) or hasattr(value, "table"), name
            assert name not in self.shown
            self.shown[name] = value

    def finish(self) -> None:
        pass


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> StrictRun:
    strict = StrictRun()
    monkeypatch.setattr(wandb, "init", lambda **_: strict)
    return strict


def test_scores_of_genuine_pairs_and_impostors_are_shown(tmp_path: Path, run: StrictRun) -> None:
    tracker = Tracker(Config(tracking=TrackingConfig(wandb="offline")), tmp_path)
    tracker.log(7, {"val_acc": 0.5})
    show_scores(tracker, 7, {"val/drawn": SCORED, "val/drawn/surgical": SCORED})
    tracker.close()
    names = {
        f"{where}/{score}/{kind}"
        for where in ("val/drawn", "val/drawn/surgical")
        for score in SCORED.scores
        for kind in ("genuine", "impostor")
    }
    assert run.shown.keys() == names | {"val_acc", "val/drawn/roc", "val/drawn/surgical/roc"}
    genuine, impostor = run.shown["val/drawn/global/genuine"], run.shown["val/drawn/global/impostor"]
    assert (sum(genuine.histogram), sum(impostor.histogram)) == (50, 70)
    middles = np.convolve(genuine.bins, [0.5, 0.5], "valid")
    assert np.average(middles, weights=genuine.histogram) == pytest.approx(GENUINE.mean(), abs=0.05)
    assert genuine.bins == impostor.bins, "two histograms over one axis can be laid over each other"
    far, score, tar = (run.shown["val/drawn/roc"].table.get_column(name) for name in ("step", "lineKey", "lineVal"))
    points = [(x, y) for x, y, name in zip(far, tar, score, strict=True) if name == "global"]
    whole = roc(SCORED.scores["global"], SCORED.issame)
    assert np.trapezoid(*zip(*[(y, x) for x, y in points], strict=True)) == pytest.approx(auc(whole))


def test_a_fault_of_a_chart_stops_nothing(
    tmp_path: Path, run: StrictRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**_: Any) -> None:
        raise ValueError("too many points")

    monkeypatch.setattr(wandb.plot, "line_series", broken)
    tracker = Tracker(Config(tracking=TrackingConfig(wandb="offline")), tmp_path)
    show_scores(tracker, 0, {"val/drawn": SCORED})
    assert "does not show val/drawn/roc at step 0 (too many points)" in caplog.text
    assert "val/drawn/local/impostor" in run.shown


def test_without_a_copy_nothing_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oaml_core.training.validation.histogram", lambda *_: pytest.fail("counted for nobody"))
    tracker = Tracker(Config(tracking=TrackingConfig(wandb="off")), tmp_path)
    show_scores(tracker, 0, {"val/drawn": SCORED})
    tracker.close()


@pytest.mark.slow
def test_weights_and_biases_itself_takes_the_charts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = Tracker(Config(tracking=TrackingConfig(wandb="offline")), tmp_path)
    tracker.log(3, {"val_acc": 0.5})
    show_scores(tracker, 3, {"val/drawn": SCORED})
    tracker.close()
    assert [record.message for record in caplog.records if record.name.startswith("oaml_core")] == []
    (table,) = tmp_path.glob("wandb/offline-run-*/files/media/table/val/drawn/roc*.json")
    assert {row[1] for row in json.loads(table.read_text())["data"]} == {"global", "local"}
