"""The process that torchrun knows as a worker, where the worker itself is forked by a server."""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType

from oaml_core.training.worker_request import address, send

PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals by which torchrun asks for an end."""


def follow_a_worker(folder: str) -> None:
    """Have a worker forked with this process' arguments, and end as it ends; return if there is no server.

    Args:
        folder: of the server's socket.

    Raises:
        SystemExit: with the worker's code. Where a signal has ended the worker, it ends this process, too.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            with address(Path(folder)) as path:
                connection.connect(path)
            send(connection, sys.argv)
            answers = connection.makefile("r")
            worker = int(answers.readline())
        except (OSError, ValueError):
            return

        def pass_on(number: int, _: FrameType | None) -> None:
            try:
                os.killpg(worker, number)  # as torchrun does it
            except ProcessLookupError:  # it has no group of its own yet, or has ended
                with suppress(ProcessLookupError):
                    os.kill(worker, number)

        for number in PASSED_ON:
            signal.signal(number, pass_on)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the launcher asks by SIGTERM
        try:
            ended = answers.readline()
        except OSError:
            ended = ""
    code = int(ended or -signal.SIGKILL)  # with its server the kernel has ended the worker
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
