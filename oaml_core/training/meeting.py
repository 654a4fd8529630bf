"""Where the workers of one machine meet: in files of this user, and on loopback alone.

torchrun's own meeting place and PyTorch's default one are servers that listen on all interfaces. Both have a form in
a file, which needs no port. Workers then talk to one another by Gloo or NCCL, which
listen on the interface that their variables name. Whatever torchrun, PyTorch and Python put into the folder for
temporary files goes into the meeting's folder, so that nothing is left of processes that were killed.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from oaml_core.held_folder import held_folder

if TYPE_CHECKING:
    from oaml_core.training.world import World

MEETING_VARIABLE = "OAML_MEETING"
"""Names the folder of the meeting, where all workers are on one machine."""
RESTARTS_VARIABLE = "TORCHELASTIC_RESTART_COUNT"
"""torchrun's count of restarts: those who meet again must not read what is left of an earlier meeting."""
LOOPBACK = "lo"
PREFIX = "oaml-meeting-"
LONGEST_PATH = 70
"""Bytes of a folder in which Python makes sockets; their names take some 35, and the kernel takes 107 in all."""


def meeting_folder() -> AbstractContextManager[Path]:
    """Make a folder for a meeting that is removed with the block; those that killed launchers left go as well."""
    return held_folder(PREFIX)


def temporary_environment(folder: Path) -> dict[str, str]:
    """Return variables that let the agent and its workers put their temporary files into a meeting's folder.

    Compiled kernels stay where they are, for the next run.
    """
    place = folder / "tmp"
    if len(os.fsencode(place)) > LONGEST_PATH:
        return {}
    place.mkdir()
    variables = {"TMPDIR": str(place)}
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        with suppress(KeyError, OSError):  # a user without a name
            own = Path(tempfile.gettempdir()) / f"torchinductor_{getpass.getuser()}"
            variables["TORCHINDUCTOR_CACHE_DIR"] = str(own)
    return variables


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
