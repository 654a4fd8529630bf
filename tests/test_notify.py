"""Messages through a webhook."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from oaml_core.notify import notify


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[dict], list[int]]]:
    """What a webhook has got, and the statuses that it answers with first."""
    got: list[dict] = []
    statuses: list[int] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = statuses.pop(0) if statuses else 200
            if status < 300:
                got.append(text)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OAML_WEBHOOK_URL", f"http://127.0.0.1:{server.server_port}/services/s3cr3t")
        yield got, statuses
        server.shutdown()


def test_a_message_arrives(hook: tuple[list[dict], list[int]]) -> None:
    got, statuses = hook
    statuses.append(503)
    assert notify("kept v1: „worse“", "NightFailed")
    assert got == [{"text": "kept v1: „worse“"}]


def test_without_a_webhook_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OAML_WEBHOOK_URL", raising=False)
    assert not notify("x", "NightFailed")


@pytest.mark.parametrize("address", ["", "http://127.0.0.1:9/services/s3cr3t", "nonsense s3cr3t"])
def test_a_webhook_that_fails_stops_nothing_and_is_not_shown(
    hook: tuple[list[dict], list[int]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    address: str,
) -> None:
    if address:
        monkeypatch.setenv("OAML_WEBHOOK_URL", address)
    else:
        hook[1].append(403)
    monkeypatch.setattr("oaml_core.post_json.TRIES", 0)
    assert not notify("x", "NightFailed")
    assert "webhook" in caplog.messages[-1]
    assert "s3cr3t" not in caplog.messages[-1]
