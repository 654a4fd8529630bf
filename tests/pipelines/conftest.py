"""The whole pipeline on faces so few that it takes seconds."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
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
KEPT = """
import contextlib, tempfile
@contextlib.contextmanager
def kept(prefix=None, **_):
    yield tempfile.mkdtemp(prefix=prefix, dir=".")
tempfile.TemporaryDirectory = kept
from pipelines.execute import main
main()
"""
"""Runs the graph, and leaves what its tasks hand to one another, which else goes when it ends."""
WITH_KEPT = "from pipelines import local_pipeline, run_local\nlocal_pipeline.GRAPH = 'kept'\nrun_local.main()"


class TinyRun(NamedTuple):
    """A run that has ended."""

    folder: Path
    said: str
    credentials: list[str]
    """All that it was given, and those of the S3 server that it started."""


@pytest.fixture(scope="session")
def tiny_work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that the tiny runs of a session share, with the recipe in it."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.yaml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="session")
def start() -> Start:
    """Start the local pipeline in `folder`, in a session of its own, as a terminal would."""

    def started(folder: Path, *options: str, program: str = "", **variables: str) -> subprocess.Popen[str]:
        command = ["-c", program] if program else ["-m", "pipelines.run_local"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("OAML_", "AWS_"))}
        return subprocess.Popen(
            [sys.executable, *command, "--config", "tiny.yaml", *options],
            cwd=folder,
            env=environment | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO), "PYTHONUNBUFFERED": "1"} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # under `nohup` it is ignored
        )

    return started


def _server_keys(process: int) -> Iterator[str]:
    """Credentials of the S3 servers below `process`. Between fork and exec a child has neither name nor environment of
    its own, and it may have ended since it was listed.
    """
    for child in psutil.Process(process).children():
        with contextlib.suppress(psutil.Error):
            if child.name().startswith("rclone") and (key := child.environ().get("RCLONE_AUTH_KEY")):
                yield key


@pytest.fixture(scope="session")
def tiny_run(tiny_work: Path, start: Start) -> TinyRun:
    """The first run, with an S3 server of its own, its data prepared and its model evaluated by two shards."""
    (tiny_work / "kept.py").write_text(KEPT)
    given = {name: secrets.token_hex(16) for name in ("WANDB_API_KEY", "KFP_TOKEN", "AWS_SESSION_TOKEN")}
    address = {"OAML_WEBHOOK_URL": f"http://127.0.0.1:9/{secrets.token_hex(16)}"}
    process = start(tiny_work, "--shards", "2", "--evaluation_shards", "2", program=WITH_KEPT, **given, **address)
    servers: list[str] = []
    while not servers and process.poll() is None:
        servers = list(_server_keys(process.pid))
        time.sleep(0.05)
    said, _ = process.communicate(timeout=600)
    key, secret = servers[0].strip('"').split(",")
    return TinyRun(tiny_work, said, [*given.values(), address["OAML_WEBHOOK_URL"].rpartition("/")[2], key, secret])
