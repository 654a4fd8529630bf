"""Entry of a training worker, which `torchrun` starts: `python -m oaml_core.training.worker_entry MODULE …`.

It imports next to nothing before the kernel knows whom the worker must not outlive: torch takes seconds to import, and
a launcher or an agent that is killed meanwhile would leave workers alone. Where the launcher has a server that forks
workers, this process is the shadow of one.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module

from oaml_core.processes import die_with_parent

LAUNCHER_VARIABLE = "OAML_LAUNCHER_PID"
"""Tells workers the process number of their launcher, the parent of their agent."""
SERVER_VARIABLE = "OAML_FORK_SERVER"
"""Tells workers the folder of the socket of the server that forks them; empty: each imports for itself."""
MAIN = "oaml_core.training.worker"


def run_worker() -> None:
    """Tie this process to its agent and launcher, then train: in a forked process, or here where there is no server."""
    launcher = os.environ.get(LAUNCHER_VARIABLE)
    die_with_parent(signal.SIGKILL, grandparent=int(launcher) if launcher else None)
    if folder := os.environ.get(SERVER_VARIABLE):
        from oaml_core.training.shadow import follow_a_worker

        follow_a_worker(folder)
    train()


def train() -> None:
    """Import the module that the first argument names, and train by its `train_as_worker`."""
    # The terminal's Ctrl-C reaches the launcher, which asks for an orderly end by SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    module = import_module(sys.argv.pop(1))
    import_module(MAIN).main(module.train_as_worker)


if __name__ == "__main__":
    run_worker()
