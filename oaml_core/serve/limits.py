"""What stands before every request: limits, safe headers, figures, and a log line without faces or names."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oaml_core.amounts import amount

log = logging.getLogger("oaml.serve")
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
"""Sent with every answer: no other host is asked for anything, and nothing is cached."""


@dataclass(frozen=True)
class Limits:
    """Limits of a single request."""

    body: int = 16 * 2**20
    """Bytes of a request."""
    pixels: int = 25_000_000
    """Pixels of a photograph."""
    faces: int = 20
    """Faces that are described in one photograph."""
    seconds: float = 30.0
    """Longest time from the start of the work to an answer."""
    workers: int = 2
    """Requests that are worked on at once."""
    waiting: int = 32
    """Requests that wait for their turn; more are refused."""
    per_minute: int = 600
    """Requests per key and minute."""


class ServiceFigures:
    """Prometheus metrics of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("oaml_requests", "Requests.", ["route", "status"], registry=self.registry)
        self.seconds = Histogram("oaml_request_seconds", "Time to an answer.", ["route"], registry=self.registry)
        self.busy = Gauge("oaml_work", "Requests that are worked on or wait.", registry=self.registry)
        self.models = Counter("oaml_model_events", "Trials and changes of models.", ["event"], registry=self.registry)
        self._model = Gauge("oaml_model", "1 for the model that answers.", ["version"], registry=self.registry)

    def show_model(self, version: str) -> None:
        """Show which model answers."""
        self._model.clear()
        self._model.labels(version).set(1)


class Guard:
    """ASGI middleware: limits the body, adds headers, counts, and logs.

    Args:
        app: what is guarded.
        limits: of the service.
        figures: where requests are counted.
    """

    def __init__(self, app: ASGIApp, limits: Limits, figures: ServiceFigures) -> None:
        self._app, self._limits, self._figures = app, limits, figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status, taken = time.perf_counter(), 500, 0

        async def counted_receive() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._limits.body:
                raise HTTPException(413, f"The request has more than {amount(self._limits.body, 'byte')}. Send less.")
            return message

        async def dressed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *added]}
            await send(message)

        try:
            await self._app(scope, counted_receive, dressed_send)
        finally:
            seconds = time.perf_counter() - start
            # The route's pattern, never the path: that holds names.
            route = getattr(scope.get("route"), "path", "none")
            self._figures.requests.labels(route, str(status)).inc()
            self._figures.seconds.labels(route).observe(seconds)
            state = scope.get("state", {})
            line = {
                "method": scope["method"],
                "route": route,
                "status": status,
                "ms": round(1000 * seconds),
                "key": state.get("key", ""),
                **state.get("noted", {}),
            }
            log.info(json.dumps(line))
