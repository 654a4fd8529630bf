"""A run with a sampled classifier, stopped with two workers, goes on with one."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import torch
from tiny_run import TinyRun, wait_for

from oaml_core.tracking import read_metrics
from oaml_core.training.checkpoints import read_checkpoint
from oaml_core.training.trained import load_trained


@pytest.mark.slow
def test_sampled_classes_survive_a_change_of_the_number_of_workers(tiny: TinyRun) -> None:
    options = ("--name", "sampled", "--optim.epochs", "1", "--model.sample_rate", "0.3")
    options += ("--train.checkpoint_every_steps", "0")
    run_dir = tiny.run_dir(*options)
    process = tiny.start(*options, "--train.nproc", "2")
    samples = run_dir / "samples-0.jsonl"
    wait_for(lambda: (samples.exists() and samples.read_text().count("\n") >= 2) or process.poll() is not None)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, output
    (checkpoint,) = (run_dir / "checkpoints").glob("step-*.ckpt")
    state = read_checkpoint(checkpoint)
    rows = state["module"]["head.rows"]
    assert rows.shape == (24, 64)
    momenta = [values["momentum_buffer"] for values in state["optimiser"]["state"].values()]
    assert any(momentum.shape == rows.shape for momentum in momenta)
    process = tiny.start(*options, "--train.nproc", "1")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert f"resumes from {checkpoint.name}" in output
    newest = max((run_dir / "checkpoints").glob("step-*.ckpt"))
    assert not torch.equal(read_checkpoint(newest)["module"]["head.rows"], rows)
    assert load_trained(newest).step == 12
    losses = [value for _, name, value in read_metrics(run_dir / "metrics.csv") if name == "loss"]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
