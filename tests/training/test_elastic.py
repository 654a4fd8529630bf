"""Real workers on gloo that die, stop and come back."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from tiny_run import TinyRun, alive, kill, wait_for, worker_pids

from oaml_core.data.samplers import build_batch_sampler
from oaml_core.tracking import read_metrics
from oaml_core.training.checkpoints import read_checkpoint

Consumed = dict[tuple[int, int], list[int]]


def consumed(run_dir: Path) -> Consumed:
    """Samples of each (epoch, batch) in order of rank, as they went into the weights last."""
    found: dict[tuple[int, int], dict[int, list[int]]] = {}
    for path in sorted(run_dir.glob("samples-*.jsonl")):
        rank = int(path.stem.rpartition("-")[2])
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            ranks = found.setdefault((entry["epoch"], entry["batch"]), {})
            ranks[rank] = entry["samples"]
    return {key: [s for rank in sorted(ranks) for s in ranks[rank]] for key, ranks in found.items()}


def plan(tiny: TinyRun, labels: np.ndarray, epochs: int) -> Consumed:
    sampler = build_batch_sampler(tiny.config.data, labels, seed=tiny.config.seed)
    planned: Consumed = {}
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for batch in range(len(sampler)):
            planned[epoch, batch] = [key.image for key in sampler.global_batch(batch)]
    return planned


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
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "resumes from step-" in output
    assert set(worker_pids(run_dir)).isdisjoint(first)
    assert consumed(run_dir) == plan(tiny, labels, 2)
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
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert not any(map(alive, workers))
    (checkpoint,) = (run_dir / "checkpoints").glob("step-*.ckpt")
    done = read_checkpoint(checkpoint)["position"]["step"]
    assert done == samples.read_text().count("\n")
    again = tiny.start(*options)
    output, _ = again.communicate(timeout=240)
    assert again.returncode == 0, output
    assert f"resumes from {checkpoint.name}" in output
    assert consumed(run_dir) == plan(tiny, labels, 2)


def test_one_and_two_workers_see_the_same_batches_and_learn_alike(tiny: TinyRun) -> None:
    losses = {}
    for workers in ("1", "2"):
        options = ("--name", f"workers-{workers}", "--train.nproc", workers, "--optim.epochs", "1")
        process = tiny.start(*options)
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
        rows = read_metrics(tiny.run_dir(*options) / "metrics.csv")
        losses[workers] = [value for _, name, value in rows if name == "loss"]
    assert consumed(tiny.run_dir("--name", "workers-1", "--optim.epochs", "1")) == consumed(
        tiny.run_dir("--name", "workers-2", "--optim.epochs", "1")
    )
    # Batch normalisation sees the slice, 8 images instead of 16; that is all that may differ.
    assert np.allclose(losses["1"], losses["2"], rtol=0.35)
    assert np.mean(np.abs(np.divide(losses["1"], losses["2"]) - 1)) < 0.12


def test_checkpoints_of_another_configuration_are_refused(tiny: TinyRun) -> None:
    options = ("--name", "refused", "--optim.epochs", "1", "--train.nproc", "1")
    process = tiny.start(*options)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    # The same folder, as a user would have it who copied checkpoints to a run of his own.
    other = (*options, "--optim.lr", "0.01", "--train.max_restarts", "0")
    target = tiny.run_dir(*other)
    target.parent.mkdir(parents=True, exist_ok=True)
    tiny.run_dir(*options).rename(target)
    (target / "result.json").unlink()
    process = tiny.start(*other)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "optim.lr" in output
    assert "another name" in output
