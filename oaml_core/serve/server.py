"""Runs the service until it is told to stop; requests under way are answered first."""

from __future__ import annotations

import socket

import uvicorn
from fastapi import FastAPI

from oaml_core.errors import ConfigError

GRACE = 30
"""Seconds that requests under way get to end."""


def open_socket(host: str, port: int) -> socket.socket:
    """Listen at an address, so that the port is known and taken before the model is loaded.

    Args:
        host: address.
        port: to listen at; 0: a free one.

    Raises:
        ConfigError: it cannot be listened at.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--host {host} --port {port} cannot be listened at: {error}. Name another one.") from error


def serve(app: FastAPI, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        app: what `create_app` built.
        listening: what `open_socket` opened.
    """
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    uvicorn.Server(config).run(sockets=[listening])
