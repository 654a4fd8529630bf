"""A Kubeflow Pipelines server that keeps what it is told, over HTTP, in the form of its v2beta1 interface."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

KINDS = {
    "experiments": "experiment_id",
    "pipelines": "pipeline_id",
    "runs": "run_id",
    "recurringruns": "recurring_run_id",
    "versions": "pipeline_version_id",
}
LISTS = {"recurringruns": "recurringRuns", "versions": "pipeline_versions"}


class KfpServer:
    """What the server holds, and how it misbehaves.

    Attributes:
        held: objects by kind.
        calls: method and path of every request.
        faults: (pattern of "METHOD path", status) that the next matching request is answered with, in turn.
        token: what requests must carry; None: nothing.
    """

    def __init__(self) -> None:
        self.held: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
        self.calls: list[str] = []
        self.faults: list[tuple[str, int]] = []
        self.token: str | None = None
        self.multi_user = False
        self.port = 0

    def answer(self, method: str, url: str, headers: Message, body: bytes) -> tuple[int, Any]:
        path, query = urlparse(url).path, parse_qs(urlparse(url).query)
        self.calls.append(f"{method} {path}")
        if self.token and headers.get("Authorization") != f"Bearer {self.token}":
            return 401, {"error": "unauthenticated"}
        for number, (pattern, status) in enumerate(self.faults):
            if re.search(pattern, f"{method} {path}"):
                del self.faults[number]
                return status, {"error": "as asked"}
        if path.endswith("/healthz"):
            return 200, {"multi_user": self.multi_user}
        found = re.fullmatch(
            r"/apis/v2beta1/(?:pipelines/([^/]+)/)?(\w+)(?:/(upload\w*|[\w-]+))?", path.removesuffix("/")
        )
        if not found:
            return 404, {"error": f"no {path}"}
        _, kind, name = found.groups()
        if name in ("upload", "upload_version"):
            return 200, self._uploaded(name, query, headers, body)
        if kind not in KINDS:
            return 404, {"error": f"no {kind}"}
        return self._object(method, kind, name, query, body)

    def _object(
        self, method: str, kind: str, name: str | None, query: dict[str, list[str]], body: bytes
    ) -> tuple[int, Any]:
        held, key = self.held[kind], KINDS[kind]
        if method == "POST":
            return 200, self._keep(kind, json.loads(body))
        if method == "DELETE":
            if not any(each[key] == name for each in held):
                return 404, {"error": "not found"}
            self.held[kind] = [each for each in held if each[key] != name]
            return 200, {}
        if name:
            one = next((each for each in held if each[key] == name), None)
            return (200, one) if one else (404, {"error": "not found"})
        wanted = [each["stringValue"] for text in query.get("filter", []) for each in json.loads(text)["predicates"]]
        shown = [
            each for each in held if not wanted or each.get("display_name") in wanted or each.get("name") in wanted
        ]
        return 200, {LISTS.get(kind, kind): shown, "total_size": len(shown)}

    def _uploaded(self, how: str, query: dict[str, list[str]], headers: Message, body: bytes) -> dict[str, Any]:
        text = b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body
        (part,) = BytesParser().parsebytes(text).get_payload()
        about = {"display_name": query["name"][0], "package": part.get_payload(decode=True).decode()}
        if how == "upload":
            return self._keep("pipelines", about)
        return self._keep("versions", about | {"pipeline_id": query["pipelineid"][0]})

    def _keep(self, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        content[KINDS[kind]] = f"{kind}-{len(self.calls)}"
        content.setdefault("created_at", "2026-01-01T00:00:00Z")
        self.held[kind].append(content)
        return content


@contextmanager
def kfp_server() -> Iterator[KfpServer]:
    """A running server."""
    state = KfpServer()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, content = state.answer(self.command, self.path, self.headers, body)
            text = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = _any

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        state.port = server.server_port
        yield state
        server.shutdown()
