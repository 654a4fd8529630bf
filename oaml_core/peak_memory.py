"""How much memory a call takes at its peak."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from oaml_core.kept_memory import give_back_freed_memory


def peak_mib(run: Callable[[], object], device: torch.device | str = "cpu") -> float | None:
    """Peak memory of `run` beyond what was in use before, in MiB; None where it cannot be measured.

    On a GPU what torch has allocated on it, else the resident memory of this process, which Linux tells.
    """
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    if sys.platform != "linux":
        return None
    give_back_freed_memory()  # what is free but not given back would hide what the run takes
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _status_kib("VmRSS")
    run()
    return (_status_kib("VmHWM") - before) / 1024


def _status_kib(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1])
