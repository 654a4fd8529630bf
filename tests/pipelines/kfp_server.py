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

PATH = re.compile(r"/apis/v2beta1/(?:pipelines/(?P<pipeline>[^/]+)/)?(?P<kind>\w+)(?:/(?P<name>upload\w*|[\w-]+))?")
KINDS = {
    "experiments": "experiment_id",
    "pipelines": "pipeline_id",
    "runs": "run_id",
    "recurringruns": "recurring_run_id",
    "versions": "pipeline_version_id",
}
UNIQUE = {
    "experiments": ("display_name", "namespace"),
    "pipelines": ("display_name", "namespace"),
    "versions": ("display_name", "pipeline_id"),
}
"""Fields by which the real server refuses a second one."""
LISTS = {"recurringruns": "recurringRuns", "versions": "pipeline_versions"}


class KfpServer:
    """What the server holds, and how it misbehaves.

    Attributes:
        held: objects by kind.
        calls: method and path of every request.
        faults: (pattern of "METHOD path", status) that the next matching request is answered with, in turn.
        token: what requests must carry; None: nothing.
        multi_user: whether there are profiles: namespaces of several users.
        page_limit: most objects in one answer.
    """

    def __init__(self) -> None:
        self.held: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
        self.calls: list[str] = []
        self.faults: list[tuple[str, int]] = []
        self.token: str | None = None
        self.multi_user = False
        self.page_limit = 200
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
        found = PATH.fullmatch(path.removesuffix("/"))
        if not found or found["kind"] not in KINDS:
            return 404, {"error": f"no {path}"}
        if found["name"] in ("upload", "upload_version"):
            return self._uploaded(found["name"], query, headers, body)
        if found["pipeline"]:
            query["pipeline_id"] = [found["pipeline"]]
        return self._object(method, found["kind"], found["name"], query, body)

    def _object(
        self, method: str, kind: str, name: str | None, query: dict[str, list[str]], body: bytes
    ) -> tuple[int, Any]:
        held, key = self.held[kind], KINDS[kind]
        if method == "POST":
            return self._kept(kind, json.loads(body))
        if method == "DELETE":
            if not any(each[key] == name for each in held):
                return 404, {"error": "not found"}
            self.held[kind] = [each for each in held if each[key] != name]
            return 200, {}
        if name:
            one = next((each for each in held if each[key] == name), None)
            return (200, one) if one else (404, {"error": "not found"})
        return self._listed(kind, query)

    def _listed(self, kind: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        """As the real server scopes lists: by namespace, experiment and pipeline, a page at a time."""
        given = {name: query[name][0] for name in ("namespace", "experiment_id", "pipeline_id") if name in query}
        if self.multi_user and kind in ("experiments", "runs", "recurringruns") and not given:
            return 400, {"error": "a list of several users' things needs a namespace or an experiment"}
        if not self.multi_user and given.get("namespace"):
            return 400, {"error": "in single-user mode, the namespace must be empty"}
        if kind == "pipelines":
            given.setdefault("namespace", "")  # without one: those that all users share
        wanted = [each for text in query.get("filter", []) for each in json.loads(text)["predicates"]]
        shown = [
            each
            for each in self.held[kind]
            if all(each.get(name, "") == value for name, value in given.items())
            and all(each.get(one["key"]) == one["stringValue"] for one in wanted)
        ]
        first, size = int(query.get("page_token", ["0"])[0] or 0), int(query.get("page_size", ["20"])[0] or 20)
        last = first + min(size, self.page_limit)
        token = str(last) if last < len(shown) else ""
        return 200, {LISTS.get(kind, kind): shown[first:last], "total_size": len(shown), "next_page_token": token}

    def _uploaded(
        self, how: str, query: dict[str, list[str]], headers: Message, body: bytes
    ) -> tuple[int, dict[str, Any]]:
        text = b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body
        (part,) = BytesParser().parsebytes(text).get_payload()
        about = {"display_name": query["name"][0], "package": part.get_payload(decode=True).decode()}
        if how == "upload":
            return self._kept("pipelines", about | {"namespace": query.get("namespace", [""])[0]})
        return self._kept("versions", about | {"pipeline_id": query["pipelineid"][0]})

    def _kept(self, kind: str, content: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """The object, kept; or why the real server would refuse it."""
        if kind in ("pipelines", "experiments"):
            namespace = content.get("namespace") or ""
            if namespace and not self.multi_user:
                return 400, {"error": "in single-user mode, the namespace must be empty"}
            if kind == "experiments" and self.multi_user and not namespace:
                return 400, {"error": "in multi-user mode, an experiment needs a namespace"}
        for name, owner in {"pipeline_id": "pipelines", "experiment_id": "experiments"}.items():
            if name in content and not any(each[name] == content[name] for each in self.held[owner]):
                return 404, {"error": f"there is no {name} {content[name]}"}
        scope = UNIQUE.get(kind, ())
        if scope and any(
            all(each.get(name, "") == content.get(name, "") for name in scope) for each in self.held[kind]
        ):
            return 409, {"error": f"Already exist: {kind} {content['display_name']}"}
        return 200, self._keep(kind, content)

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
