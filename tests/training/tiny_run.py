"""A tiny run: drawn faces, a narrow backbone, seconds on one core."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from oaml_core import stages
from oaml_core.config import Config
from oaml_core.settings import load_config

PATIENCE = 700.0
"""Longest wait in seconds. With twenty other programs at work on two cores a tiny run took 357 s."""
TINY = """
name: tiny
data:
  batch_size: 16
  num_workers: 0
  synthetic_identities: 24
  synthetic_images_per_identity: 8
  synthetic_pairs: 40
model: {arch: ir_mini, width: 8, m: 0.4, h: 0.333}
optim: {epochs: 2, lr: 0.05}
train: {nproc: 2, checkpoint_every_steps: 2, log_every_steps: 1, log_samples: true}
evaluate: {batch_size: 40, occluders: [surgical], block_shares: [], sides: [second]}
tracking: {wandb: 'off'}
"""


class TinyRun:
    """Configuration and prepared data of a run that tests start as a user would, by `oaml train`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recipe = folder / "tiny.yaml"
        self.recipe.write_text(TINY)
        self.overrides = ["--store", str(folder / "store"), "--work_dir", str(folder / "work")]
        self.config = self.configured()
        self.dataset_uri = stages.prepare(self.config).dataset_uri

    @property
    def dataset(self) -> Path:
        """Folder of the prepared data."""
        return stages.fetch_dataset(self.config, self.dataset_uri).directory

    def configured(self, *options: str) -> Config:
        return load_config(self.recipe, [*self.overrides, *options])

    def run_dir(self, *options: str) -> Path:
        config = self.configured(*options)
        return Path(config.work_dir) / stages.run_prefix(config, self.dataset_uri)

    def start(self, *options: str) -> subprocess.Popen[str]:
        """`oaml train` in the background."""
        command = [sys.executable, "-m", "oaml_core.cli", "train", "--config", str(self.recipe), *self.overrides]
        return subprocess.Popen(
            [*command, "--dataset", self.dataset_uri, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )


def wait_for(condition: object, seconds: float = PATIENCE) -> None:
    """Return when `condition()` is true."""
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def worker_pids(run_dir: Path) -> list[int]:
    """Process ids of the workers that were started last."""
    return [int(path.read_text()) for path in sorted((run_dir / "workers").glob("*.pid"))]


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def kill(pid: int) -> None:
    """End a process at once, whatever it is doing."""
    os.kill(pid, signal.SIGKILL)
