"""Processes that start in a moment: forked from one that has imported training already."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["oaml_core.training.worker", "oaml_core.store", "forked"])


def start(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A process that runs `target`, a function of a module that can be imported."""
    process = SERVER.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def run_as_workers(size: int, target: Callable[..., None], *arguments: Any) -> None:
    """Run `target` in `size` processes whose environment is that of torchrun's workers; all must end well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [start(_as_worker, rank, size, port, target, arguments) for rank in range(size)]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * size


def _as_worker(rank: int, size: int, port: int, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ |= {key: str(value) for key, value in numbers.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test", "OMP_NUM_THREADS": "1"}
    import torch

    torch.set_num_threads(1)
    target(*arguments)
