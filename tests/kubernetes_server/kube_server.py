"""A server that speaks the Kubernetes API over HTTP and keeps state: what tests of a client need, and no more.

Pods, PyTorchJobs, TrainJobs and Kueue's Workloads: create (with dry run and strict validation), get, list, watch,
patch, delete, the status sub-resource, pods' logs. Nothing acts on the objects: no operator, no kubelet, no garbage
collection.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml
from kubernetes_server.kube_objects import Json, Objects, Refused
from kubernetes_server.pod_logs import PodLogs

PATH = re.compile(
    r"/(api|apis/(?P<group>[\w.-]+))/(?P<version>\w+)/namespaces/(?P<namespace>[\w-]+)/(?P<plural>\w+)"
    r"(/(?P<name>[\w.-]+)(/(?P<sub>\w+))?)?"
)
GROUP = re.compile(r"/apis/(?P<group>[\w.-]+)/\w+")
KINDS = {(None, "pods"), (None, "events"), ("kubeflow.org", "pytorchjobs"), ("trainer.kubeflow.org", "trainjobs")}
KINDS |= {("kueue.x-k8s.io", "workloads")}
TOKEN = "token-that-the-server-knows"


@dataclass
class Fault:
    """What happens to the next calls of one kind."""

    verb: str
    plural: str
    code: int = 0
    """HTTP status; 0: the connection is closed without an answer, after the call has been carried out."""
    times: int = 1
    retry_after: str | None = None
    says: str = "not now"


@dataclass
class KubeServer:
    """The server. `with KubeServer() as server` starts it on a free port of loopback."""

    objects: Objects = field(default_factory=Objects)
    logs: PodLogs = field(default_factory=PodLogs)
    faults: list[Fault] = field(default_factory=list)
    forbidden: set[tuple[str, str]] = field(default_factory=set)
    """Verbs and resources that are answered with 403."""
    served: set[str] = field(default_factory=lambda: {"pytorchjobs", "trainjobs"})
    """Custom resources whose definition is installed."""
    namespaces: set[str] = field(default_factory=lambda: {"faces", "oaml"})
    calls: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """API group, resource (with its sub-resource) and verb, as a Role names them, of all calls so far."""

    def __enter__(self) -> KubeServer:
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.kube = self
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.objects.break_watches()
        self.logs.break_off()
        self._http.shutdown()
        self._http.server_close()

    def write_kubeconfig(self, path: Path, token: str = TOKEN) -> Path:
        """A kubeconfig for this server."""
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{self._http.server_port}"}}],
            "users": [{"name": "test", "user": {"token": token}}],
        }
        path.write_text(yaml.safe_dump(content))
        return path

    def fault(self, verb: str, plural: str) -> Fault | None:
        """The fault that the next call of this kind meets."""
        for fault in self.faults:
            if (fault.verb, fault.plural) == (verb, plural) and fault.times > 0:
                fault.times -= 1
                return fault
        return None


class _Server(ThreadingHTTPServer):
    kube: KubeServer
    daemon_threads = True
    block_on_close = False


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._handle("get")

    def do_POST(self) -> None:
        self._handle("create")

    def do_PATCH(self) -> None:
        self._handle("patch")

    def do_DELETE(self) -> None:
        self._handle("delete")

    def log_message(self, *_: object) -> None:
        """Nothing: tests have their own output."""

    def _handle(self, verb: str) -> None:
        url = urlsplit(self.path)
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        if verb == "get" and (group := GROUP.fullmatch(url.path)) and (body := self._discovered(group["group"])):
            self._send_json(200, body)
            return
        found = PATH.fullmatch(url.path)
        if not found or (found["group"], found["plural"]) not in KINDS or not self._serves(found):
            self._send(404, b"404 page not found\n", "text/plain")
            return
        query = dict(parse_qsl(url.query))
        if verb == "get" and found["name"] is None:
            verb = "watch" if query.get("watch") in ("true", "True") else "list"
        query = {key: value.lower() if value in ("True", "False") else value for key, value in query.items()}
        try:
            self._answer(verb, found, query, body)
        except Refused as error:
            self._send_json(error.code, error.body())
        except ConnectionAbortedError:
            self._hang_up()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _serves(self, found: re.Match[str]) -> bool:
        return found["group"] is None or found["plural"] in self.server.kube.served

    def _discovered(self, group: str) -> Json | None:
        """Resources of an API group, as every account may ask for them; None for a group without any."""
        found = [
            {"name": each, "namespaced": True, "kind": each, "singularName": "", "verbs": []}
            for where, each in sorted(KINDS, key=str)
            if where == group and each in self.server.kube.served
        ]
        return {"kind": "APIResourceList", "groupVersion": group, "resources": found} if found else None

    def _answer(self, verb: str, found: re.Match[str], query: dict[str, str], body: Json) -> None:
        kube = self.server.kube
        resource = f"{found['plural']}/{found['sub']}" if found["sub"] else found["plural"]
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Refused(401, "Unauthorized", "Unauthorized")
        kube.calls[found["group"] or "", resource, verb] += 1
        if (verb, resource) in kube.forbidden:
            raise Refused(403, f'User "test" cannot {verb} resource "{resource}"', "Forbidden")
        fault = kube.fault(verb, resource)
        if fault is not None and fault.code:
            headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
            self._send_json(fault.code, Refused(fault.code, fault.says, "TooManyRequests").body(), headers)
            return
        answer = self._carried_out(verb, found, query, body)
        if fault is not None:
            self._hang_up()
        elif isinstance(answer, dict):
            self._send_json(201 if verb == "create" else 200, answer)
        else:
            self._stream(answer)

    def _carried_out(
        self, verb: str, found: re.Match[str], query: dict[str, str], body: Json
    ) -> Json | Iterable[bytes]:
        kube, place = self.server.kube, (found["plural"], found["namespace"])
        if found["sub"] == "log":
            return self._log(found, query)
        if verb == "create":
            if found["namespace"] not in kube.namespaces:
                raise Refused(404, f'namespaces "{found["namespace"]}" not found')
            dry_run, strict = query.get("dryRun") == "All", query.get("fieldValidation") == "Strict"
            return kube.objects.create(*place, body, dry_run=dry_run, strict=strict)
        if verb == "list":
            return kube.objects.list(*place, query)
        if verb == "watch":
            return self._events(kube.objects.watch(*place, query))
        if verb == "patch" and found["sub"] == "scale":
            return kube.objects.scale(*place, found["name"], body)
        if verb == "patch":
            return kube.objects.patch(*place, found["name"], body, status=found["sub"] == "status")
        if verb == "delete":
            return kube.objects.delete(*place, found["name"], query | body)
        return getattr(kube.objects, verb)(*place, found["name"])

    def _log(self, found: re.Match[str], query: dict[str, str]) -> Iterable[bytes]:
        kube = self.server.kube
        kube.objects.get("pods", found["namespace"], found["name"])
        container = query.get("container", "")
        if not kube.logs.exists(found["name"], container):
            raise Refused(400, f'container "{container}" in pod "{found["name"]}" is waiting to start')
        return (line.encode() for line in kube.logs.read(found["name"], container, query))

    def _events(self, events: Iterable[Json]) -> Iterable[bytes]:
        """Events, one a line; what is refused once the answer has begun is an event, too."""
        try:
            for event in events:
                yield json.dumps(event).encode() + b"\n"
        except Refused as error:
            yield json.dumps({"type": "ERROR", "object": error.body()}).encode() + b"\n"

    def _stream(self, parts: Iterable[bytes]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in parts:
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _send_json(self, code: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self._send(code, json.dumps(body).encode(), "application/json", headers)

    def _send(self, code: int, body: bytes, content_type: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()
