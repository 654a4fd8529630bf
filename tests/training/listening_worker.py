"""A worker that meets the others, and writes down where the processes of its run listen."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
import torch.distributed as dist

from oaml_core.config import Config
from oaml_core.training.devices import build_fabric
from oaml_core.training.worker_entry import LAUNCHER_VARIABLE
from oaml_core.training.world import World


def train_as_worker(config: Config, dataset: Path, run_dir: Path, store_prefix: str) -> None:
    """Meet, look at all sockets while everybody is there, and end."""
    world = World.from_environment()
    build_fabric(config.train, world).launch()
    dist.barrier()
    if world.is_main:
        processes = psutil.Process(int(os.environ[LAUNCHER_VARIABLE])).children(recursive=True)
        sockets = [socket for process in processes for socket in process.net_connections("inet")]
        listening = [socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN]
        (run_dir / "listening.json").write_text(json.dumps(listening))
    dist.barrier()
    dist.destroy_process_group()
