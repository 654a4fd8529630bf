"""Small S3 servers for tests: what a request is answered with, and the server as the store's endpoint."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class AnsweringHandler(BaseHTTPRequestHandler):
    """A handler that answers with whole bodies and writes no log."""

    def answer(self, body: bytes, kind: str = "application/xml", status: int = 200) -> None:
        """Answer with `body`, of which HEAD requests get the length alone."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def answering(handler: type[AnsweringHandler], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serve by `handler` within the block, as the endpoint of S3 stores."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OAML_S3_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
        monkeypatch.delenv("OAML_S3_FORGETS_METADATA", raising=False)
        yield
        server.shutdown()
