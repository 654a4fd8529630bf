"""A worker whose agent has a full disk for some of its heartbeats."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from oaml_core.config import Config
from oaml_core.training.meeting import join_on_this_machine
from oaml_core.training.world import World

FULL_SECONDS = 12
"""Longer than two heartbeats of torchrun."""
ROOM = 50
"""Bytes that fit on the disk still: less than a heartbeat writes, so that it is cut off."""


def train_as_worker(config: Config, dataset: Path, run_dir: Path, store_prefix: str) -> None:
    """Meet the other worker; the first one then lets the agent's disk be full for a while."""
    world = World.from_environment()
    join_on_this_machine(world, "gloo", timedelta(seconds=60))
    if not world.is_main:
        return
    agent = os.getppid()
    sizes = [path.stat().st_size for path in Path(tempfile.gettempdir()).parent.glob("*") if path.is_file()]
    before = resource.prlimit(agent, resource.RLIMIT_FSIZE)
    resource.prlimit(agent, resource.RLIMIT_FSIZE, (max(sizes, default=0) + ROOM, before[1]))
    time.sleep(FULL_SECONDS)
    resource.prlimit(agent, resource.RLIMIT_FSIZE, before)
    (run_dir / "disk was full").touch()
