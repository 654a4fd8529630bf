"""Compares the machine's NVIDIA driver with the oldest one that the installed torch can use."""

from __future__ import annotations

import re
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/version")
OLDEST = {12: "525.60.13", 13: "580.65.06"}
"""Oldest Linux driver by major version of CUDA (minor version compatibility):
https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/"""
RELEASE = re.compile(r"\b\d{3}\.\d+(\.\d+)?\b")


def driver_release(path: Path = DRIVER) -> str | None:
    """Return the release of the loaded NVIDIA driver, such as `580.95.05`; None without one."""
    try:
        found = RELEASE.search(path.read_text())
    except OSError:
        return None
    return found[0] if found else None


def oldest_driver(cuda: str | None) -> str | None:
    """Return the oldest driver for torch built with CUDA `cuda`, such as `13.0`; None where it is not known."""
    return OLDEST.get(int(cuda.partition(".")[0])) if cuda else None


def is_too_old(driver: str, oldest: str) -> bool:
    """Return True if release `driver` comes before release `oldest`."""
    return _numbers(driver) < _numbers(oldest)


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))
