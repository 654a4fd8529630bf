"""A soak finds each kind of loss, and finds none in a disturbed training."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

import benchmarks.soak
from benchmarks.figures import read
from benchmarks.soak import Soak
from benchmarks.soak_checks import batch_findings, row_findings, same

PLAN = {(0, 0): [1, 2], (0, 1): [3, 4]}
LOSSES = [(0, 0.5), (1, 0.25)]


@pytest.mark.parametrize(
    ("batches", "said"),
    [
        ({(0, 0): [1, 2]}, "batch lost: (0, 1)"),
        (PLAN | {(1, 0): [1, 2]}, "batch not planned: (1, 0)"),
        (PLAN | {(0, 1): [3, 3]}, "batch (0, 1) holds other samples than planned"),
    ],
)
def test_batches_that_are_not_the_plans_are_found(batches: dict[tuple[int, int], list[int]], said: str) -> None:
    assert batch_findings(batches, PLAN) == [said]
    assert batch_findings(PLAN, PLAN) == []


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (LOSSES[:1], "no row of metrics for step 1"),
        ([*LOSSES, LOSSES[1]], "2 rows of metrics for step 1"),
        ([LOSSES[0], (1, 0.26)], "step 1: loss 0.26, not 0.25"),
    ],
)
def test_rows_that_are_not_the_undisturbed_runs_are_found(rows: list[tuple[int, float]], said: str) -> None:
    assert row_findings(rows, LOSSES) == [said]
    assert row_findings(LOSSES, LOSSES) == []


def test_states_are_compared_to_the_bit() -> None:
    weights = torch.tensor([1.0, 2.0])
    state = {"a": [weights, 3], "b": None}
    assert same(state, {"a": [weights.clone(), 3], "b": None})
    assert not same(state, {"a": [torch.nextafter(weights, weights + 1), 3], "b": None})
    assert not same(state, {"a": [weights.double(), 3], "b": None})
    assert not same(state, {"a": [weights, 3]})


def test_a_soak_that_is_interrupted_tells_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(soak: Soak, _: object) -> None:
        soak.runs, soak.done["worker"] = 1, 3
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmarks.soak, "place", nullcontext)
    monkeypatch.setattr(Soak, "begin", lambda _: None)
    monkeypatch.setattr(Soak, "go_on", interrupted)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["soak", "--minutes", "1"])
    benchmarks.soak.main()
    report = json.loads(capsys.readouterr().out)
    assert (report["runs"], report["kills"], report["findings"]) == (1, 3, [])
    assert not list(tmp_path.iterdir())


def test_a_soak_is_over_after_its_time() -> None:
    where: Any = None
    assert Soak(where, ["worker"], 0, 1, ends=0.0).is_over
    assert not Soak(where, ["worker"], 0, 1).is_over


@pytest.mark.slow
def test_a_disturbed_training_ends_as_undisturbed(tmp_path: Path) -> None:
    out = tmp_path / "soak.json"
    command = [sys.executable, "-m", "benchmarks.soak", "--runs", "1", "--disturbances", "1", "--seed", "41"]
    command += ["--kinds", "worker", "--out", str(out)]
    top = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=top, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = read(out)
    told = dict(figures.rows)
    assert (told["runs"], told["findings"], told["disturbances: worker"]) == (1, 0, 1)
    assert figures.command == "python -m benchmarks.soak --runs 1 --seed 41 --kinds worker --disturbances 1"
