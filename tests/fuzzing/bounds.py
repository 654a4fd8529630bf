"""Bounds of what reading one hostile file may cost, and the errors that it may end with."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from oaml_core.errors import OamlError

SECONDS = 5.0
"""Processor time for a file of a megabyte at most; whole files of that size take a tenth of it."""
MEGABYTES = 400
"""Memory beyond what was in use before: the largest picture that is decoded takes half of it."""


class BrokenBound(AssertionError):
    """Reading took too much time or memory, or ended with an error that names nothing."""


def read_within_bounds(read: Callable[[Path], object], folder: Path) -> str:
    """Read a folder's files, and hold the parser to what it may cost.

    Args:
        read: parser.
        folder: holds the files.

    Returns:
        `read` or the name of the error that refused them.

    Raises:
        BrokenBound: it took more time or memory than allowed, or raised something else than an error for users.
    """
    memory, peak, began = _status("VmRSS"), _status("VmHWM"), time.process_time()
    try:
        read(folder)
        ended = "read"
    except OamlError as error:
        ended = type(error).__name__
        if not str(error).strip():
            raise BrokenBound(f"{ended} without a message") from error
    except Exception as error:
        raise BrokenBound(f"{type(error).__name__} instead of an error for users: {error}"[:500]) from error
    seconds, highest = time.process_time() - began, _status("VmHWM")
    # A peak that was reached before says nothing about this file: it was within bounds then.
    megabytes = (highest - memory) / 1024 if highest > peak else 0.0
    if seconds > SECONDS:
        raise BrokenBound(f"reading took {seconds:.1f} s of processor time; {SECONDS} are allowed")
    if megabytes > MEGABYTES:
        raise BrokenBound(f"reading took {megabytes:.0f} MiB of memory; {MEGABYTES} are allowed")
    return ended


def _status(field: str) -> int:
    """Return a line of the kernel's account of this process in KiB; 0 where it keeps none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(field)), 0)
