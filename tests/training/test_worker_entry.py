"""Workers end with their launcher and their agent, also while they still import torch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

ENDLESS = "import pathlib, time; pathlib.Path(__file__).with_name('importing').touch(); time.sleep(600)"
"""A torch that takes longer to import than any test waits."""
AGENT = """
import subprocess, sys
subprocess.Popen([sys.executable, "-m", "oaml_core.training.worker_entry", "oaml_core.training.worker"]).wait()
"""
LAUNCHER = f"""
import os, signal, subprocess, sys
from functools import partial
from oaml_core.processes import die_with_parent
from oaml_core.training.worker_entry import LAUNCHER_VARIABLE
agent = {AGENT!r}
environment = os.environ | {{LAUNCHER_VARIABLE: str(os.getpid())}}
before = partial(die_with_parent, signal.SIGKILL)
subprocess.Popen([sys.executable, "-c", agent], env=environment, start_new_session=True, preexec_fn=before).wait()
"""


def descendants(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return process.children(recursive=True)
    return []


@pytest.mark.parametrize("moment", ["as soon as it is there", "while torch is imported"])
@pytest.mark.parametrize("victim", ["launcher", "agent"])
def test_a_worker_ends_with_whom_it_works_for_while_it_imports(tmp_path: Path, victim: str, moment: str) -> None:
    (tmp_path / "torch.py").write_text(ENDLESS)
    top = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{top}"}
    launcher = psutil.Process(subprocess.Popen([sys.executable, "-c", LAUNCHER], env=environment, cwd=top).pid)
    try:
        agent, worker = wait_for(lambda: (found := descendants(launcher))[1:] and found)
        if moment != "as soon as it is there":
            wait_for((tmp_path / "importing").exists)
        (launcher if victim == "launcher" else agent).send_signal(signal.SIGKILL)
        assert psutil.wait_procs([worker], timeout=60)[1] == []
    finally:
        left = [*descendants(launcher), launcher]
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=60)


def wait_for(condition):
    """Return what `condition` returns as soon as that is true."""
    for _ in range(1200):
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come about within a minute")
