"""Where the workers of one machine meet: in files of this user, and on loopback alone.

torchrun's own meeting place and PyTorch's default one are servers that listen on all interfaces. Both have a form in
a file, which needs no port. Workers then talk to one another by Gloo or NCCL, which
listen on the interface that their variables name.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oaml_core.training.world import World

MEETING_VARIABLE = "OAML_MEETING"
"""Names the folder of the meeting, where all workers are on one machine."""
RESTARTS_VARIABLE = "TORCHELASTIC_RESTART_COUNT"
"""torchrun's count of restarts: those who meet again must not read what is left of an earlier meeting."""
LOOPBACK = "lo"


def loopback_options(folder: Path) -> list[str]:
    """Return torchrun's options for a meeting in `folder`, which is new and this user's own."""
    return ["--rdzv-backend=c10d", f"--rdzv-endpoint={folder / 'agents'}", "--rdzv-conf=store_type=file"]


def loopback_environment(folder: Path) -> dict[str, str]:
    """Return what workers have to know of a meeting in `folder`; interfaces that are set already stay."""
    interfaces = {name: os.environ.get(name, LOOPBACK) for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")}
    return {MEETING_VARIABLE: str(folder), **interfaces}


def join_on_this_machine(world: World, backend: str, timeout: timedelta) -> None:
    """Bring the process group of this machine's workers up; does nothing where workers meet in another way."""
    import torch.distributed as dist  # launchers start where there is no torch

    folder = os.environ.get(MEETING_VARIABLE)
    if folder is None or dist.is_initialized():
        return
    file = f"file://{folder}/workers-{os.environ.get(RESTARTS_VARIABLE, '0')}"
    dist.init_process_group(backend, init_method=file, rank=world.rank, world_size=world.size, timeout=timeout)
