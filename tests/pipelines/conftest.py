"""The whole pipeline on faces so few that it takes seconds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# A shell that runs the tests in the background has SIGINT ignored, and so would all processes that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPO = Path(__file__).parents[2]
RECIPE = """\
name: tiny
data:
  batch_size: 16
  num_workers: 0
  synthetic_identities: 8
  synthetic_images_per_identity: 4
  synthetic_pairs: 40
model: {arch: ir_mini, width: 4}
optim: {epochs: 1}
train: {nproc: 2}
evaluate: {batch_size: 40, occluders: [surgical], block_shares: [], sides: [second]}
export: {check_images: 4}
tracking: {wandb: 'off'}
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def tiny_work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that the tiny runs of a session share, with the recipe in it."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.yaml").write_text(RECIPE)
    return folder


@pytest.fixture
def start() -> Start:
    """Start the local pipeline in `folder`, in a session of its own, as a terminal would."""

    def started(folder: Path, *options: str, program: str = "") -> subprocess.Popen[str]:
        command = ["-c", program] if program else ["-m", "pipelines.run_local"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("OAML_", "AWS_"))}
        return subprocess.Popen(
            [sys.executable, *command, "--config", "tiny.yaml", *options],
            cwd=folder,
            env=environment | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return started
