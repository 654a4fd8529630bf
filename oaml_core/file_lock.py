"""Locks on open files (flock) that end with their block, whatever processes were forked meanwhile."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO


@contextmanager
def locked(file: int | IO[str], *, wait: bool = True) -> Iterator[None]:
    """Lock an open file against all other processes and openings of it, for the block.

    A process that any thread forks in the block has the same open file, and would keep the lock until it ends if this
    one did no more than close its own: who next waits for the lock would wait for a process that may wait for it. So
    the lock is given up by name. Source: flock(2).

    Args:
        file: descriptor, or file, that is open.
        wait: for whoever has it locked.

    Raises:
        BlockingIOError: somebody has it locked, and `wait` is False. OSError: the file system has no locks.
    """
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def hold_shared(file: IO[str]) -> None:
    """Lock an open file together with all who do the same, until this process and those that it forked have ended."""
    fcntl.flock(file, fcntl.LOCK_SH)


def hold_alone(file: IO[str]) -> bool:
    """Lock an open file until this process and all that inherit it have ended; return False if somebody has it.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
