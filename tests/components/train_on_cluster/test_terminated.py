"""What becomes of the job when the step that follows it is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from operator_part import wait_for
from training_place import Place

HERE, REPO = Path(__file__).parent, Path(__file__).parents[3]
STEP = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(message)s")
from dataclasses import replace
from components.train.cluster_launcher import ClusterLauncher
from training_place import CLUSTER, CONFIG, DATASET, PREFIX
ClusterLauncher(replace(CLUSTER, namespace=sys.argv[1], training_backend=sys.argv[2]))(CONFIG, DATASET, PREFIX)
"""
OWN_POD = "pipeline-train-step"


@pytest.fixture
def step(place: Place) -> Iterator[subprocess.Popen[str]]:
    """A process that follows a job."""
    paths = os.pathsep.join([str(REPO), str(HERE), str(REPO / "tests")])
    environment = os.environ | {"KUBECONFIG": str(place.kubeconfig), "PYTHONPATH": paths, "KFP_POD_NAME": OWN_POD}
    process = subprocess.Popen(
        [sys.executable, "-c", STEP, place.namespace, place.operator.backend],
        env=environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
def test_ending_the_step_cancels_the_job(place: Place, step: subprocess.Popen[str], number: int, code: int) -> None:
    place.operator.start(place.operator.job())
    _wait_for_line(step, "2 of 2 pods run")
    step.send_signal(number)
    said, _ = step.communicate(timeout=20)
    assert step.returncode == code
    assert f"cancels {place.operator.of.kind}" in said
    assert place.operator.jobs() == []


def test_a_step_that_is_moved_to_another_node_leaves_the_job_alone(
    place: Place, step: subprocess.Popen[str], caplog: pytest.LogCaptureFixture
) -> None:
    job = place.operator.job()
    place.operator.start(job)
    _wait_for_line(step, "2 of 2 pods run")
    place.operator.create_other_pod(OWN_POD)
    reason = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": ""}
    place.operator.set_pod(OWN_POD, conditions=[reason])
    step.terminate()
    assert step.wait(20) == 143
    again = place.train()
    wait_for(lambda: f"takes up {place.operator.of.kind}" in caplog.text)
    place.operator.set_condition(job, "Succeeded")
    assert again.wait() is None


def test_a_step_that_is_killed_is_repeated_on_the_same_job(
    place: Place, step: subprocess.Popen[str], caplog: pytest.LogCaptureFixture
) -> None:
    job = place.operator.job()
    place.operator.start(job)
    _wait_for_line(step, "2 of 2 pods run")
    step.kill()
    step.wait()
    again = place.train()
    wait_for(lambda: f"takes up {place.operator.of.kind}" in caplog.text)
    place.operator.set_condition(job, "Succeeded")
    assert again.wait() is None
    assert [each["metadata"]["uid"] for each in place.operator.jobs()] == [job["metadata"]["uid"]]


def _wait_for_line(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"{words!r} did not come")
