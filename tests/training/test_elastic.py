"""Real workers on gloo that die, stop and come back."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from consumption import attempts, consumed, planned
from gloo_workers import free_port, listens
from tiny_run import PATIENCE, TinyRun, alive, kill, wait_for, worker_pids

from oaml_core.tracking import read_metrics
from oaml_core.training.checkpoints import read_checkpoint


@pytest.fixture(scope="session")
def labels(tiny: TinyRun) -> np.ndarray:
    from oaml_core.stages import fetch_dataset

    return np.array(fetch_dataset(tiny.config, tiny.dataset_uri).train.labels)


def test_run_with_a_killed_worker_consumes_exactly_the_plan(tiny: TinyRun, labels: np.ndarray) -> None:
    options = ("--name", "killed", "--seed", "0")
    run_dir = tiny.run_dir(*options)
    process = tiny.start(*options)
    wait_for(lambda: any((run_dir / "checkpoints").glob("step-*.ckpt")) or process.poll() is not None)
    first = worker_pids(run_dir)
    kill(first[1])
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    assert "resumes from step-" in output
    assert set(worker_pids(run_dir)).isdisjoint(first)
    assert consumed(run_dir) == planned(tiny.config, labels, 2)
    steps = [step for step, name, _ in read_metrics(run_dir / "metrics.csv") if name == "loss"]
    assert steps == list(range(24)), "each step has one row, the repeated ones too"


def test_sigterm_writes_a_checkpoint_and_the_same_command_goes_on(tiny: TinyRun, labels: np.ndarray) -> None:
    options = ("--name", "stopped", "--train.checkpoint_every_steps", "0")
    run_dir = tiny.run_dir(*options)
    process = tiny.start(*options)
    samples = run_dir / "samples-0.jsonl"
    wait_for(lambda: (samples.exists() and samples.read_text().count("\n") >= 3) or process.poll() is not None)
    workers = worker_pids(run_dir)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert not any(map(alive, workers))
    (checkpoint,) = (run_dir / "checkpoints").glob("step-*.ckpt")
    done = read_checkpoint(checkpoint)["position"]["step"]
    assert done == samples.read_text().count("\n")
    again = tiny.start(*options, "--launcher", "none")  # with one worker, in the process itself
    output, _ = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, output
    assert f"resumes from {checkpoint.name}" in output
    assert consumed(run_dir) == planned(tiny.config, labels, 2)


@pytest.mark.slow
def test_a_node_that_is_lost_and_comes_back_changes_nothing_in_the_plan(
    tiny: TinyRun, labels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("OAML_RDZV_ENDPOINT", f"127.0.0.1:{port}")
    waits = "last_call_timeout=2,keep_alive_interval=1,keep_alive_max_attempt=10"  # a busy machine is no lost node
    monkeypatch.setenv("PET_RDZV_CONF", waits)
    shared = ("--name", "nodes", "--train.nproc", "1", "--train.min_nodes", "1", "--train.max_nodes", "2")
    shared += ("--optim.epochs", "40", "--train.val_every_epochs", "40")
    places = [("--work_dir", str(tmp_path / node)) for node in ("a", "b")]
    folders = [tiny.run_dir(*shared, *place) for place in places]

    def sizes() -> list[int]:
        return [size for size, _ in attempts(*folders)]

    first = tiny.start(*shared, *places[0])
    wait_for(lambda: listens(port), 240)  # the workers meet at the first node, as at a cluster's worker-0
    second = tiny.start(*shared, *places[1])
    wait_for(lambda: sizes()[-1:] == [2] and any(any(one.glob("checkpoints/step-*")) for one in folders))
    for process in [*psutil.Process(second.pid).children(recursive=True), psutil.Process(second.pid)]:
        with suppress(psutil.NoSuchProcess):  # workers end with their agent
            process.kill()
    wait_for(lambda: sizes()[-2:] == [2, 1])
    again = tiny.start(*shared, *places[1])
    wait_for(lambda: sizes()[-3:] == [2, 1, 2])
    for node in (first, again):
        node.send_signal(signal.SIGTERM)
    outputs = [node.communicate(timeout=PATIENCE)[0] for node in (first, again)]
    assert [node.returncode for node in (first, again)] == [128 + signal.SIGTERM] * 2, outputs
    checkpoints = [path for folder in folders for path in (folder / "checkpoints").glob("step-*")]
    newest = max(checkpoints, key=lambda path: path.name)
    position = read_checkpoint(newest)["position"]
    plan = planned(tiny.config, labels, position["epoch"] + 1)
    done = {key: samples for key, samples in plan.items() if key < (position["epoch"], position["batch"])}
    assert len(done) == position["step"]
    assert consumed(*folders) == done
    # The main worker was on one node, then perhaps on the other.
    rows = read_metrics(newest.parent.parent / "metrics.csv")
    assert [step for step, name, _ in rows if name == "loss"] == list(range(len(done)))
