"""Processor cores that this process may use: those it may run on, as far as the limit of its container goes."""

from __future__ import annotations

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def usable_cores() -> float:
    """Return the number of cores; a limit on processor time, such as Kubernetes' of 500m, gives fractions.

    Limits are those of the control groups that the process is in (cgroup v2 `cpu.max`, v1 `cpu.cfs_quota_us`):
    https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files. Where none can be read, none is known.
    """
    return min([float(_allowed()), *filter(None, map(_limit, _groups()))])


def _allowed() -> int:
    """Return the cores that the process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _groups() -> list[Path]:
    """Return the folders of the process' control groups and of all groups above them."""
    found: list[Path] = []
    for line in _text(OWN).splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        names = controllers.split(",")
        if hierarchy == "0":
            tops = [CGROUPS, CGROUPS / "unified"]
        elif "cpu" in names:
            tops = [CGROUPS / controllers, CGROUPS / "cpu", CGROUPS / "cpu,cpuacct"]
        else:
            continue
        for top in tops:
            # Within a container the path may be the host's, and its own group is the top.
            own = top / path.lstrip("/")
            found += [top, *(each for each in (own, *own.parents) if each.is_relative_to(top))]
    return list(dict.fromkeys(found))


def _limit(group: Path) -> float | None:
    """Return the cores whose time a control group may use in each period; None where there is no limit."""
    quota, _, period = _text(group / "cpu.max").strip().partition(" ")
    if not quota:
        quota, period = (_text(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    if not quota.isdecimal() or not period.isdecimal() or 0 in (int(quota), int(period)):
        return None  # "max", -1, or no such file
    return int(quota) / int(period)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
