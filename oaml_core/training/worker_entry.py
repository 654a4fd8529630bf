"""Entry of a training worker, which `torchrun` starts: `python -m oaml_core.training.worker_entry MODULE …`.

It imports next to nothing before the kernel knows whom the worker must not outlive: torch takes seconds to import, and
a launcher or an agent that is killed meanwhile would leave workers alone.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module

from oaml_core.processes import die_with_parent

LAUNCHER_VARIABLE = "OAML_LAUNCHER_PID"
"""Tells workers the process number of their launcher, the parent of their agent."""


def run_worker(module: str) -> None:
    """Tie this process to its agent and launcher, then import `module` and train by its `train_as_worker`."""
    launcher = os.environ.get(LAUNCHER_VARIABLE)
    die_with_parent(signal.SIGKILL, grandparent=int(launcher) if launcher else None)
    # The terminal's Ctrl-C reaches the launcher, which asks for an orderly end by SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import_module("oaml_core.training.worker").main(import_module(module).train_as_worker)


if __name__ == "__main__":
    run_worker(sys.argv.pop(1))
