"""Where the workers of one machine meet: on loopback alone.

torchrun's own meeting place and PyTorch's default one are servers that listen on all interfaces. Both have a form in a
file; but a record that is cut off there by a full disk lets every later reader hang. So the launcher listens on
loopback, and the agent serves its store there, to itself and to the workers. Workers then talk to one another by Gloo
or NCCL, which listen on the interface that their variables name. Whatever torchrun, PyTorch and Python put into the
folder for temporary files goes into the meeting's folder, so that nothing is left of processes that were killed.
"""

from __future__ import annotations

import getpass
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from oaml_core.held_folder import held_folder

if TYPE_CHECKING:
    from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousParameters

    from oaml_core.training.world import World

MEETING_VARIABLE = "OAML_MEETING"
"""Names host and port of the meeting, where all workers are on one machine."""
LISTENER_VARIABLE = "OAML_MEETING_LISTENER"
"""Names the file descriptor of the listening socket, which the agent inherits."""
BACKEND = "oaml-loopback"
"""The name of `meet_on_loopback` among torchrun's kinds of rendezvous."""
HOST = "127.0.0.1"
RESTARTS_VARIABLE = "TORCHELASTIC_RESTART_COUNT"
"""torchrun's count of restarts: those who meet again must not read what is left of an earlier meeting."""
LOOPBACK = "lo"
LONGEST_PATH = 70
"""Bytes of a folder in which Python makes sockets; their names take some 35, and the kernel takes 107 in all."""


def meeting_folder() -> AbstractContextManager[Path]:
    """Make a folder for a meeting that is removed with the block; those that killed launchers left go as well."""
    return held_folder("oaml-meeting-")


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


@contextmanager
def loopback_listener() -> Iterator[socket.socket]:
    """Give a socket that listens on a free port of loopback, for the agent to serve its store on."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield listener


def loopback_options(listener: socket.socket) -> list[str]:
    """Return torchrun's options for a meeting at `listener`."""
    host, port = listener.getsockname()
    return [f"--rdzv-backend={BACKEND}", f"--rdzv-endpoint={host}:{port}"]


def loopback_environment(listener: socket.socket) -> dict[str, str]:
    """Return what agent and workers have to know of a meeting at `listener`; interfaces that are set already stay."""
    host, port = listener.getsockname()
    interfaces = {name: os.environ.get(name, LOOPBACK) for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")}
    return {MEETING_VARIABLE: f"{host}:{port}", LISTENER_VARIABLE: str(listener.fileno()), **interfaces}


def meet_on_loopback(parameters: RendezvousParameters) -> RendezvousHandler:
    """Make torchrun's rendezvous handler of the agent that has inherited the listener: its store is in memory."""
    import torch.distributed as dist
    from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import C10dRendezvousBackend
    from torch.distributed.elastic.rendezvous.dynamic_rendezvous import create_handler

    class LoopbackBackend(C10dRendezvousBackend):
        @property
        def name(self) -> str:
            return BACKEND  # torchrun compares it with the one that was asked for

    host, _, port = parameters.endpoint.rpartition(":")
    store = dist.TCPStore(  # type: ignore[attr-defined]  # documented, not exported
        host,
        int(port),
        is_master=True,
        wait_for_workers=False,
        master_listen_fd=int(os.environ[LISTENER_VARIABLE]),
    )
    return create_handler(store, LoopbackBackend(store, parameters.run_id), parameters)


def join_on_this_machine(world: World, backend: str, timeout: timedelta) -> None:
    """Bring the process group of this machine's workers up; does nothing where workers meet in another way."""
    import torch.distributed as dist  # launchers start where there is no torch

    address = os.environ.get(MEETING_VARIABLE)
    if address is None or dist.is_initialized():
        return
    host, _, port = address.rpartition(":")
    store = dist.TCPStore(host, int(port), is_master=False, wait_for_workers=False, timeout=timeout)  # type: ignore[attr-defined]
    own = dist.PrefixStore(f"workers-{os.environ.get(RESTARTS_VARIABLE, '0')}", store)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=own, rank=world.rank, world_size=world.size, timeout=timeout)
