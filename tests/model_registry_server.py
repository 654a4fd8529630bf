"""A Model Registry over HTTP (REST v1alpha3) that keeps what it is told and refuses what it does not know.

Required fields, patterns and uniqueness are those of the interface; bodies with other fields are refused, which is
at least as strict as the registry itself.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

Json = dict[str, Any]
ROOT = "/api/model_registry/v1alpha3/"
ID = re.compile(r"[1-9][0-9]{0,8}")
BASE = {"customProperties": dict, "description": str, "externalId": str, "name": str}
FIELDS: dict[str, dict[str, type]] = {
    "registered_models": BASE | {"owner": str, "state": str, "readme": str, "license": str, "provider": str},
    "model_versions": BASE | {"state": str, "author": str, "registeredModelId": str},
    "artifacts": BASE
    | dict.fromkeys(
        ("artifactType", "uri", "state", "modelFormatName", "modelFormatVersion", "storageKey", "storagePath"), str
    ),
}
REQUIRED = {
    "registered_models": ("name",),
    "model_versions": ("name", "registeredModelId"),
    "artifacts": ("artifactType",),
}
STATES = {
    "registered_models": ("LIVE", "ARCHIVED"),
    "model_versions": ("LIVE", "ARCHIVED"),
    "artifacts": ("UNKNOWN", "PENDING", "LIVE", "MARKED_FOR_DELETION", "DELETED", "ABANDONED", "REFERENCE"),
}
VALUES = {
    "MetadataStringValue": ("string_value", str),
    "MetadataDoubleValue": ("double_value", int | float),
    "MetadataIntValue": ("int_value", str),
    "MetadataBoolValue": ("bool_value", bool),
}
SINGULAR = {"registered_model": "registered_models", "model_version": "model_versions"}


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class RegistryServer:
    """What the registry holds, and how it misbehaves.

    Attributes:
        held: things by kind.
        calls: method and path of every request.
        faults: (pattern of "METHOD path", status) that the next matching request is answered with, in turn.
        token: what requests must carry; None: nothing.
        page_limit: most things in one answer.
    """

    def __init__(self) -> None:
        self.held: dict[str, list[Json]] = {kind: [] for kind in FIELDS}
        self.calls: list[str] = []
        self.faults: list[tuple[str, int]] = []
        self.token: str | None = None
        self.page_limit = 100
        self.address = ""

    def answer(self, method: str, url: str, headers: Any, body: bytes) -> tuple[int, Json]:
        path, query = urlparse(url).path, {key: each[0] for key, each in parse_qs(urlparse(url).query).items()}
        self.calls.append(f"{method} {path.removeprefix(ROOT)}")
        for number, (pattern, status) in enumerate(self.faults):
            if re.search(pattern, self.calls[-1]):
                del self.faults[number]
                return status, {"code": str(status), "message": "as asked"}
        try:
            if self.token and headers.get("Authorization") != f"Bearer {self.token}":
                raise Refused(401, "unauthorised")
            if not path.startswith(ROOT):
                raise Refused(404, f"no {path}")
            return self._routed(method, path.removeprefix(ROOT).split("/"), query, headers, body)
        except Refused as refused:
            return refused.status, {"code": str(refused.status), "message": refused.message}

    def _routed(self, method: str, steps: list[str], query: Json, headers: Any, body: bytes) -> tuple[int, Json]:
        match (method, steps):
            case ("GET", [kind]) if kind in SINGULAR:
                return 200, self._found(SINGULAR[kind], query)
            case ("POST", [kind]) if kind in ("registered_models", "model_versions"):
                return 201, self._made(kind, _read(kind, headers, body, whole=True))
            case ("PATCH", [kind, number]) if kind in ("registered_models", "model_versions"):
                thing = self._by_id(kind, number)
                thing.update(_read(kind, headers, body, whole=False))
                return 200, thing
            case ("GET", ["model_versions", number, "artifacts"]):
                self._by_id("model_versions", number)
                return 200, self._page([each for each in self.held["artifacts"] if each["of"] == number], query)
            case ("POST", ["model_versions", number, "artifacts"]):
                self._by_id("model_versions", number)
                return 201, self._made("artifacts", _read("artifacts", headers, body, whole=True) | {"of": number})
        raise Refused(405 if steps[0] in (*FIELDS, *SINGULAR) else 404, f"no {method} {'/'.join(steps)}")

    def _found(self, kind: str, query: Json) -> Json:
        if unknown := set(query) - {"name", "externalId", "parentResourceId"}:
            raise Refused(400, f"unknown parameters {sorted(unknown)}")
        if not (query.get("externalId") or query.get("name")):
            raise Refused(400, "invalid parameters call, supply either name or externalId")
        if kind == "model_versions" and not (query.get("externalId") or query.get("parentResourceId")):
            raise Refused(400, "invalid parameters call, supply either (name and parentResourceId), or externalId")
        for each in self.held[kind]:
            parent = each.get("registeredModelId") in (None, query.get("parentResourceId"))
            if each["name"] == query.get("name") and (kind != "model_versions" or parent):
                return each
        raise Refused(404, f"no {kind} {query}")

    def _made(self, kind: str, content: Json) -> Json:
        if kind == "model_versions":
            self._by_id("registered_models", content["registeredModelId"])
        scope = ("name", "registeredModelId") if kind == "model_versions" else ("name",)
        for each in self.held[kind]:
            if content.get("name") and all(each.get(key) == content.get(key) for key in scope):
                raise Refused(409, f"{kind} named {content['name']} already exists")
        now = {"createTimeSinceEpoch": "1767225600000", "lastUpdateTimeSinceEpoch": "1767225600000"}
        made = {"state": STATES[kind][0], **content, "id": str(sum(map(len, self.held.values())) + 1), **now}
        self.held[kind].append(made)
        return made

    def _by_id(self, kind: str, number: str) -> Json:
        if not ID.fullmatch(number):
            raise Refused(400, f"{number!r} is no id")
        for each in self.held[kind]:
            if each["id"] == number:
                return each
        raise Refused(404, f"no {kind} with id {number}")

    def _page(self, things: list[Json], query: Json) -> Json:
        first = int(query.get("nextPageToken") or 0)
        size = min(int(query.get("pageSize") or self.page_limit), self.page_limit)
        token = str(first + size) if first + size < len(things) else ""
        items = things[first : first + size]
        return {"items": items, "nextPageToken": token, "pageSize": size, "size": len(items)}


def _read(kind: str, headers: Any, body: bytes, whole: bool) -> Json:
    """Return the body, if it is what the description says."""
    if headers.get("Content-Type", "").partition(";")[0] != "application/json":
        raise Refused(415, "the body must be application/json")
    try:
        content = json.loads(body)
    except ValueError:
        raise Refused(400, "the body is no JSON") from None
    known = FIELDS[kind]
    for key, value in content.items():
        if key not in known or (not whole and key in ("name", "registeredModelId")):
            raise Refused(400, f'json: unknown field "{key}"')
        if not isinstance(value, known[key]):
            raise Refused(400, f"{key} must be {known[key].__name__}")
    if lacking := [key for key in REQUIRED[kind] if whole and not content.get(key)]:
        raise Refused(422, f"required field '{lacking[0]}' is zero value.")
    if content.get("state", STATES[kind][0]) not in STATES[kind]:
        raise Refused(400, f"{content['state']} is no state")
    for key, value in content.get("customProperties", {}).items():
        name, form = VALUES.get(value.get("metadataType"), ("", object))
        if set(value) != {"metadataType", name} or not isinstance(value[name], form) or value[name] != value[name]:
            raise Refused(400, f"customProperties.{key} is no MetadataValue")
    return dict(content)


@contextmanager
def registry_server() -> Iterator[RegistryServer]:
    """A running registry."""
    state = RegistryServer()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, content = state.answer(self.command, self.path, self.headers, body)
            shown = {key: value for key, value in content.items() if key != "of"} if type(content) is dict else content
            text = json.dumps(shown).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = _any

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        state.address = f"http://127.0.0.1:{server.server_port}"
        yield state
        server.shutdown()
