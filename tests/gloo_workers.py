"""Several workers that exchange tensors over gloo, as a training run has them."""

from __future__ import annotations

import multiprocessing
import socket
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def listens(port: int) -> bool:
    """Whether somebody listens on a TCP port of loopback."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def run_workers(function: Callable[..., Any], size: int, *arguments: Any) -> list[Any]:
    """What `function(rank, *arguments)`, of a module's top level, returns on each of `size` workers."""
    # Workers are forked from a server that has torch, and no thread: each starts in a moment.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torch.distributed"])
    with TemporaryDirectory() as folder, ProcessPoolExecutor(size, mp_context=context) as pool:
        meeting = str(Path(folder) / "meeting")
        running = [pool.submit(_work, function, rank, size, meeting, arguments) for rank in range(size)]
        return [each.result(timeout=400) for each in running]


def _work(function: Callable[..., Any], rank: int, size: int, meeting: str, arguments: tuple[Any, ...]) -> Any:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=size, timeout=timedelta(seconds=300)
    )
    try:
        return function(rank, *arguments)
    finally:
        dist.destroy_process_group()
