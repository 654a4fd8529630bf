"""A process that has imported what training workers need, and forks each of them in a moment.

    python -m oaml_core.training.fork_server LISTENER MODULE

Importing PyTorch and what training builds on takes seconds of processor time, for each worker and at each restart. The
launcher starts this process beside torchrun's agent. A worker that torchrun starts (`worker_entry`) connects to its
socket, sends its arguments, environment and standard streams, and becomes the shadow of the process that is forked for
it: it passes signals on, and ends as that one ends. Where one of the two ends, so does the other, and both end with the
launcher. Where this process is missing, a worker imports by itself.

No request is served before all is imported, from one thread, and nothing here touches a GPU: CUDA cannot be used in a
process that is forked after that.
"""

from __future__ import annotations

import os
import random
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path

from oaml_core.held_folder import held_folder
from oaml_core.processes import die_with_parent
from oaml_core.training.worker_entry import MAIN, SERVER_VARIABLE, train
from oaml_core.training.worker_request import STREAMS, Request, address, receive

REQUEST_SECONDS = 10.0
"""Time in which a request must have come as a whole."""
WAITING = 128
"""Workers that may wait for the server at a time."""


@contextmanager
def fork_server(module: str, environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Run a server for the block; it ends with this process, however that ends.

    Args:
        module: that workers import beside the training's own.
        environment: of the server; what libraries read while they are imported must be in it. Where it has
            `SERVER_VARIABLE`, workers are left to that.

    Yields:
        Variables that tell workers of it; none where the system has no such means.
    """
    if SERVER_VARIABLE in environment or not (sys.platform.startswith("linux") and hasattr(os, "pidfd_open")):
        yield {}
        return
    with held_folder("oaml-workers-") as folder:
        process = _started(folder, module, environment)
        try:
            yield {SERVER_VARIABLE: str(folder)}
        finally:
            process.kill()
            process.wait()


def _started(folder: Path, module: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a server whose socket is there already: workers that come early wait."""
    with socket.socket(socket.AF_UNIX) as listener:
        with address(folder) as path:
            listener.bind(path)
        listener.listen(WAITING)
        quiet = subprocess.DEVNULL  # what cannot be imported is told by the workers, which then do so themselves
        return subprocess.Popen(
            [sys.executable, "-m", "oaml_core.training.fork_server", str(listener.fileno()), module],
            env=environment,
            stdin=quiet,
            stdout=quiet,
            stderr=quiet,
            pass_fds=[listener.fileno()],
            start_new_session=True,
            preexec_fn=partial(die_with_parent, signal.SIGKILL),
        )


def serve(descriptor: int, module: str) -> Request:
    """Import, and fork workers until this process is killed. It returns in the workers alone.

    Args:
        descriptor: of the socket that listens.
        module: to be imported beside the training's own.
    """
    with socket.socket(fileno=descriptor) as listener:
        os.close(os.pidfd_open(os.getpid()))  # a sandbox may refuse it: at once, then, not when workers are there
        for name in (MAIN, module):
            import_module(name)
        torch = import_module("torch")
        if threading.active_count() > 1 or torch.cuda.is_initialized():
            raise SystemExit("Workers cannot be forked: a thread or a GPU is at work.")
        return Server(listener).run()


class Server:
    """Forks a worker for each connection, and ends it with that."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.workers: dict[int, socket.socket] = {}
        """Connections by the process number of their worker."""
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ, self._accept)

    def run(self) -> Request:
        """Serve for ever; in a worker, return what it was asked for with."""
        while True:
            for key, _ in self.selector.select():
                answer: Callable[[], Request | None] = key.data
                if (request := answer()) is not None:
                    return request

    def _accept(self) -> Request | None:
        connection, _ = self.listener.accept()
        connection.settimeout(REQUEST_SECONDS)
        server = os.getpid()
        try:
            request = receive(connection)
            worker = os.fork()
        except (OSError, ValueError):  # whoever asked has ended or stands still, or no process can be forked now
            connection.close()
            return None
        if not worker:
            die_with_parent(signal.SIGKILL)
            if os.getppid() != server:
                os.kill(os.getpid(), signal.SIGKILL)
            self.selector.close()
            for other in (connection, *self.workers.values()):
                other.close()
            return request
        for stream in request.streams:
            os.close(stream)
        ended = os.pidfd_open(worker)
        self.workers[worker] = connection
        self.selector.register(connection, selectors.EVENT_READ, partial(self._kill, worker))
        self.selector.register(ended, selectors.EVENT_READ, partial(self._tell, worker, ended))
        with suppress(OSError):
            connection.sendall(f"{worker}\n".encode())
        return None

    def _kill(self, worker: int) -> None:
        """End a worker whose shadow has ended: a shadow says nothing, so what can be read of it is the end."""
        if worker in self.workers:  # it may have ended at the same moment
            os.kill(worker, signal.SIGKILL)
            self.selector.unregister(self.workers[worker])

    def _tell(self, worker: int, ended: int) -> None:
        """Say how a worker has ended."""
        _, status = os.waitpid(worker, 0)
        self.selector.unregister(ended)
        os.close(ended)
        connection = self.workers.pop(worker)
        with suppress(KeyError):
            self.selector.unregister(connection)
        with suppress(OSError):
            connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        connection.close()


def become(request: Request) -> None:
    """Take the place of the process that sent a request: its arguments, environment, folder and streams."""
    os.setsid()
    for number, stream in zip(STREAMS, request.streams, strict=True):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    tempfile.tempdir = None
    random.seed()
    sys.argv = request.arguments


if __name__ == "__main__":
    become(serve(int(sys.argv[1]), sys.argv[2]))
    train()
