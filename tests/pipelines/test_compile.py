"""The compiled graph is the one in the repository, and says nothing that it should not."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.compile import COMPILED

STAGES = ["preprocess", "train", "evaluate", "gate", "export", "promote"]
LAST = "night"
"""Runs when the others have ended, whatever became of them."""


@pytest.fixture(scope="module")
def spec() -> dict:
    return next(yaml.safe_load_all(COMPILED.read_text()))


def test_compiling_gives_the_committed_bytes(tmp_path: Path) -> None:
    for name in ("one.yaml", "two.yaml"):
        subprocess.run([sys.executable, "-m", "pipelines.compile", str(tmp_path / name)], check=True)
    assert (tmp_path / "one.yaml").read_bytes() == (tmp_path / "two.yaml").read_bytes()
    assert (tmp_path / "one.yaml").read_bytes() == COMPILED.read_bytes(), "run `make compile`"


def test_the_graph_has_the_stages_in_order(spec: dict) -> None:
    (steps,) = set(spec["root"]["dag"]["tasks"]) - {LAST}
    tasks = spec["components"][f"comp-{steps}"]["dag"]["tasks"]
    assert sorted(tasks) == sorted(STAGES)
    for before, after in itertools.pairwise(STAGES[:-1]):
        assert before in tasks[after]["dependentTasks"]
    assert tasks["promote"]["dependentTasks"] == ["evaluate", "export"]


def test_the_last_step_runs_whatever_became_of_the_others(spec: dict) -> None:
    tasks = spec["root"]["dag"]["tasks"]
    (steps,) = set(tasks) - {LAST}
    assert tasks[LAST]["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    assert tasks[LAST]["inputs"]["parameters"]["status"] == {"taskFinalStatus": {"producerTask": steps}}


def test_images_bring_everything(spec: dict) -> None:
    assert "pip install" not in COMPILED.read_text()
    for executor in spec["deploymentSpec"]["executors"].values():
        name, _, tag = executor["container"]["image"].rpartition(":")
        assert name
        assert tag != "latest"


def test_artifacts_have_the_types_that_dashboards_show(spec: dict) -> None:
    def outputs(stage: str) -> dict[str, str]:
        artifacts = spec["components"][f"comp-{stage}"]["outputDefinitions"]["artifacts"]
        return {name: artifact["artifactType"]["schemaTitle"] for name, artifact in artifacts.items()}

    assert outputs("preprocess") == {"dataset": "system.Dataset"}
    assert outputs("train") == {"model": "system.Model"}
    assert outputs("evaluate") == {
        "metrics": "system.Metrics",
        "roc": "system.ClassificationMetrics",
        "report": "system.HTML",
        "summary": "system.Markdown",
    }
    assert outputs("gate") == {"decision": "system.Markdown"}
    assert outputs("export") == {"onnx_model": "system.Model", "model_card": "system.Markdown"}


def test_nothing_secret_can_be_passed(spec: dict) -> None:
    assert sorted(spec["root"]["inputDefinitions"]["parameters"]) == ["config"]
