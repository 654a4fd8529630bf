"""Processes that do not outlive the one that started them, and names of processes that no other ever has."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

PR_SET_PDEATHSIG = 1
"""Number of the option in linux/prctl.h."""
BOOT = Path("/proc/sys/kernel/random/boot_id")


def die_with_parent(how: int = signal.SIGTERM, *, grandparent: int | None = None) -> None:
    """Ask the kernel for a signal when this process' parent ends, however it ends. Linux only; elsewhere nothing.

    Call it in the child, first thing (`preexec_fn`, or the top of `main`).

    Args:
        how: the signal.
        grandparent: process number of the parent's parent. With it also a parent is noticed that ended before the
            call; a program that imports for seconds first needs it.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, how)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os.kill(os.getpid(), how)
    if grandparent is not None and _stat(parent)[1:2] != [str(grandparent)]:  # this process was given to another
        os.kill(os.getpid(), how)


def process_identity() -> str:
    """Name of this process that no other has, also after a reboot or in another container; empty where unknown.

    It holds the host's name, the kernel's boot, the namespace of process numbers, the number and the time of start.
    """
    try:
        started = _stat(os.getpid())[19]
        return f"{_namespace()}/{os.getpid()}/{started}"
    except (OSError, IndexError):
        return ""


def has_ended(identity: str) -> bool:
    """Return True if `identity` names a process of this machine and namespace that runs no more.

    Args:
        identity: as `process_identity` gave it; of another machine nothing is known, and the answer is False.
    """
    namespace, _, rest = identity.partition("/")
    number, _, started = rest.partition("/")
    try:
        if not (number.isdecimal() and started) or namespace != _namespace():
            return False
    except OSError:
        return False
    stat = _stat(int(number))
    if len(stat) < 20:
        return not _is_hidden(int(number))
    return stat[0] in "ZX" or stat[19] != started


def _is_hidden(number: int) -> bool:
    """Return True if there is such a process, of another user, that /proc does not show."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it may not be signalled, and so it is there
        return True
    return True


def _namespace() -> str:
    numbers = os.readlink("/proc/self/ns/pid")
    return f"{socket.gethostname()}-{BOOT.read_text().strip()}-{numbers}"


def _stat(number: int) -> list[str]:
    """Fields of /proc/<number>/stat from the state on: state, parent, …; the 20th is the time of start."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def holder_name() -> str:
    """Return host, process and present time of this process, for people and for `is_gone`."""
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{socket.gethostname()}, process {os.getpid()}, since {since}, {process_identity()}"


def is_gone(holder: str) -> bool:
    """Return True if `holder`, a `holder_name`, is a process of this machine that has ended."""
    return any(has_ended(part) for part in holder.split(", ")[3:4])
