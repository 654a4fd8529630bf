"""Ends a process with everything that it has started, and that those have, in whatever group or session they are."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple


class Running(NamedTuple):
    """A process that runs; its start tells it from a later one of the same number."""

    pid: int
    started: str


def end_tree(process: subprocess.Popen[str], grace_seconds: float) -> None:
    """SIGTERM to `process`, which is to pass it on; SIGKILL to all that is left of its tree after `grace_seconds`, or
    when this is interrupted. Returns when nothing is left.
    """
    left = tree(process.pid)
    try:
        if process.poll() is None:
            process.terminate()
        deadline = time.monotonic() + grace_seconds
        while time.monotonic() < deadline and (left := _still_running(process, left)):
            time.sleep(0.05)
    except (KeyboardInterrupt, SystemExit):  # asked twice
        left = _still_running(process, left)
    while left:
        for found in left:
            _kill(found.pid)
        time.sleep(0.02)
        left = _still_running(process, left)


def tree(pid: int) -> set[Running]:
    """Return the process `pid`, if it runs, and its descendants. Linux only; elsewhere nothing."""
    processes = _processes()
    return _with_descendants([pid] if pid in processes else [], processes)


def _still_running(process: subprocess.Popen[str], known: set[Running]) -> set[Running]:
    """Return the processes of `known` that still run, and those they started since, orphans too."""
    process.poll()  # takes the exit status, without which it would stay a zombie
    processes = _processes()
    alive = [each.pid for each in known if each.pid in processes and processes[each.pid][1] == each.started]
    return _with_descendants(alive, processes)


def _with_descendants(pids: list[int], processes: dict[int, tuple[int, str]]) -> set[Running]:
    found = list(pids)
    for ancestor in found:
        found += [child for child, (parent, _) in processes.items() if parent == ancestor and child not in found]
    return {Running(each, processes[each][1]) for each in found}


def _processes() -> dict[int, tuple[int, str]]:
    """Parent and time of start of each process that is not a zombie."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, *rest = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if state != "Z":
            found[int(stat.parent.name)] = (int(parent), rest[17])
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
