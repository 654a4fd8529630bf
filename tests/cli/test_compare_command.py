"""`oaml compare`: two evaluations from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stored_scores import write_evaluation

from oaml_core.cli import main


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["compare", *words])
    return int(ended.value.code or 0)


def test_says_which_is_better_and_what_the_gate_would_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    champion = write_evaluation(tmp_path / "a", {"lfw": {"clean": 0.90, "veil": 0.84}})
    challenger = write_evaluation(tmp_path / "b", {"lfw": {"clean": 0.96, "veil": 0.80}})
    assert run(champion, challenger, "--out", str(tmp_path / "comparison.json")) == 0
    said = capsys.readouterr().out
    assert "| lfw | clean | combined | 90.00 | 96.00 | +6.00" in said
    assert "keeps the champion" in said
    assert "lfw/veil −4.00" in said
    found = json.loads((tmp_path / "comparison.json").read_text())
    verdicts = {(d["condition"], d["score"]): d["verdict"] for d in found["differences"]}
    assert verdicts["clean", "combined"] == "better"
    assert verdicts["veil", "combined"] == "worse"
    assert found["level"] == 0.95


def test_an_evaluation_without_scores_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    champion = write_evaluation(tmp_path / "a", {"lfw": {"clean": 0.90}})
    assert run(champion, str(tmp_path / "nowhere" / "metrics.json")) == 1
    said = capsys.readouterr().err
    assert "There is no " in said
    assert "nowhere/scores.npz" in said
