"""A TCP relay between a client and a server, that counts what passes and can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

LONGEST_PAUSE = 1.0
"""Seconds that a slow line holds a piece back at most, so that it is quick again soon after it was made so."""


def nothing() -> None:
    """What a cut does beside cutting, where nothing else is asked."""


class Relay:
    """Passes connections to `target`, a port on loopback, on to it.

    Attributes:
        port: where clients connect.
        sent: bytes that clients have sent.
        received: bytes that they have got.
        pace: bytes per second that each direction of a connection passes at most; None: as many as come.
    """

    def __init__(self, target: int) -> None:
        self.sent = self.received = 0
        self.pace: int | None = None
        self._target = target
        self._limit: tuple[str, int] | None = None
        self._at_cut: Callable[[], object] = nothing
        self._cut = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, direction: str, count: int, at_cut: Callable[[], object] = nothing) -> None:
        """Drop all connections, and refuse new ones, once `count` bytes more were `sent` or `received`.

        `at_cut` is called first, while no byte passes in that direction.
        """
        self._limit, self._at_cut = (direction, getattr(self, direction) + count), at_cut

    def restore(self) -> None:
        self._limit, self._cut = None, False

    def close(self) -> None:
        self._listener.close()
        self._drop()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._cut:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            self._open |= {client, server}
            for source, sink, direction in ((client, server, "sent"), (server, client, "received")):
                threading.Thread(target=self._pass, args=(source, sink, direction), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, direction: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                with self._lock:
                    setattr(self, direction, getattr(self, direction) + len(data))
                    limit = self._limit
                    if limit and limit[0] == direction and getattr(self, direction) > limit[1] and not self._cut:
                        self._at_cut()
                        self._cut = True
                if self._cut:
                    self._drop()
                    return
                sink.sendall(data)
                if (pace := self.pace) is not None:
                    time.sleep(min(len(data) / pace, LONGEST_PAUSE))
        for each in (source, sink):
            _end(each)
            self._open.discard(each)

    def _drop(self) -> None:
        for each in list(self._open):
            _end(each)
        self._open.clear()


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@contextlib.contextmanager
def relay(target: int) -> Iterator[Relay]:
    made = Relay(target)
    try:
        yield made
    finally:
        made.close()
