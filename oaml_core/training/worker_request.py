"""How the process that torchrun starts asks the fork server for a worker: arguments, environment and streams."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SOCKET = "socket"
STREAMS = (0, 1, 2)


class Request(NamedTuple):
    """Arguments, environment, folder and streams that torchrun has given to a worker."""

    arguments: list[str]
    environment: dict[str, str]
    folder: str
    """The working directory."""
    streams: list[int]
    """Descriptors of standard input, output and error."""


@contextmanager
def address(folder: Path) -> Iterator[str]:
    """Give an address of the socket in `folder` that is short, whatever the folder's path: 107 bytes are the limit."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}/{SOCKET}"
    finally:
        os.close(opened)


def send(connection: socket.socket, arguments: list[str]) -> None:
    """Ask for a worker with these arguments, and this process' environment, folder and streams."""
    said = json.dumps([arguments, dict(os.environ), os.getcwd()]).encode()
    socket.send_fds(connection, [len(said).to_bytes(8, "big")], STREAMS)
    connection.sendall(said)


def receive(connection: socket.socket) -> Request:
    """Return what `send` sent.

    Raises:
        OSError, ValueError: it has not come, or not as a whole.
    """
    length, streams, _, _ = socket.recv_fds(connection, 8, len(STREAMS))
    try:
        if len(streams) != len(STREAMS) or len(length) != 8:
            raise ValueError("no request")
        with connection.makefile("rb") as file:
            arguments, environment, folder = json.loads(file.read(int.from_bytes(length, "big")))
        return Request(arguments, environment, folder, streams)
    except (OSError, ValueError):
        for stream in streams:
            os.close(stream)
        raise
