"""Room on the disk for files that are mapped into memory and written there."""

from __future__ import annotations

import os
from pathlib import Path


def reserve(path: Path, size: int) -> None:
    """Let a file have `size` bytes at least, with room on the disk for each of them.

    A new map is all holes. Where the disk is full when a hole is written, the system ends the process by SIGBUS, and
    nothing tells why; a file whose room is reserved is refused before.

    Args:
        path: the file, made where it is absent. What it holds stays.
        size: in bytes, above 0.

    Raises:
        OSError: the disk has no room for it, or the file cannot be written; it names the file.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:  # macOS: the file grows, and its room is not reserved
            os.ftruncate(descriptor, max(size, os.fstat(descriptor).st_size))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(descriptor)
