"""Processes that start in a moment: forked from one that has imported training already."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["torch", "torch.distributed", "oaml_core.training.loop", "oaml_core.store"])


def start(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A process that runs `target`, a function of a module that can be imported."""
    process = SERVER.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process
