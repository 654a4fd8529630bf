"""Refusals and limits of the service: keys, broken photographs, work that is too much, and a service that ends."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient
from plain_model import PlainModel, face_of
from service_client import compare, png, started

from oaml_core.errors import ConfigError
from oaml_core.inference.gallery.database import Gallery
from oaml_core.photos.faces import FaceFinder
from oaml_core.serve.app import create_app
from oaml_core.serve.faces import FaceService
from oaml_core.serve.keys import Keys, key_digest, read_keys
from oaml_core.serve.limits import Limits
from oaml_core.serve.server import open_socket


@pytest.mark.parametrize(
    ("key", "path", "method", "status"),
    [
        (None, "/api/v1/gallery/people", "GET", 401),
        ("wrong", "/api/v1/gallery/people", "GET", 401),
        ("r", "/api/v1/gallery/people", "GET", 200),
        ("r", "/api/v1/gallery/people?person=x", "DELETE", 403),
        ("e", "/api/v1/gallery/people?person=x", "DELETE", 403),
        ("a", "/api/v1/gallery/people?person=x", "DELETE", 404),
        (None, "/nowhere", "GET", 404),
        (None, "/api/v1/compare", "GET", 405),
        (None, "/page/../app.py", "GET", 404),
        (None, "/page/keys.py", "GET", 404),
        ("a", "/api/v1/compare", "POST", 422),
        ("a", "/api/v1/gallery/faces/x", "DELETE", 422),
        (None, "/health/live", "GET", 200),
        (None, "/v2/health/ready", "GET", 200),
    ],
)
def test_who_may_ask_for_what(gallery: Gallery, key: str | None, path: str, method: str, status: int) -> None:
    with started(gallery) as client:
        answer = client.request(method, path, headers={} if key is None else {"X-API-Key": key})
        assert answer.status_code == status
        if status >= 400:
            assert set(answer.json()["error"]) == {"code", "message"}


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ("POST /api/v1/identify?tpo=3", 422, "There is no option 'tpo' here. Did you mean 'top'?"),
        ("GET /api/v1/gallery/people?zzz=3", 422, "There is no option 'zzz' here. There are part, most."),
        ("DELETE /api/v1/gallery/faces/1?person=a", 422, "There is no option 'person' here."),
        ("GET /api/v1/gallery/people?part=a&part=b", 422, "The option 'part' is there more than once."),
        ("DELETE /api/v1/gallery/people?person=a&person=b", 422, "The option 'person' is there more than once."),
        ("GET /api/v1/people", 404, "There is no GET /api/v1/people. `/openapi.json` lists"),
        ("GET /api/v1/compare", 405, "There is no GET /api/v1/compare."),
    ],
)
def test_a_mistyped_request_is_told_what_there_is(client: TestClient, request_: str, status: int, message: str) -> None:
    answer = client.request(*request_.split())
    assert answer.status_code == status
    assert answer.json()["error"]["message"].startswith(message)


@pytest.mark.parametrize(
    ("photo", "status", "message"),
    [
        (b"", 422, "'first'"),
        (b"no picture", 422, "is damaged, or none of"),
        (png(face_of(1))[:500], 422, "cannot be used"),
        (png(np.zeros((400, 400, 3), np.uint8)), 422, "400 × 400 pixels; 40,000"),
        (png(np.zeros((8, 8, 3), np.uint8)), 422, "16 at least"),
        (png(np.zeros((100, 120, 3), np.uint8)), 422, "square"),
        (bytes(400_000), 413, "300,000 bytes"),
    ],
)
def test_a_photograph_that_cannot_be_used_is_refused(
    client: TestClient, photo: bytes, status: int, message: str
) -> None:
    answer = compare(client, photo, png(face_of(1)))
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize("field", ["far", "person", "picture"])
def test_a_body_with_a_field_that_is_not_read_is_refused(client: TestClient, field: str) -> None:
    """An option among the photographs, where many clients put it, would be passed over without a word."""
    photo = png(face_of(1))
    form = client.post("/api/v1/compare", files={"first": photo, "second": photo}, data={field: "0.001"})
    text = base64.b64encode(photo).decode()
    as_json = client.post("/api/v1/compare", json={"first": text, "second": text, field: "0.001"})
    for answer in (form, as_json):
        assert answer.status_code == 422
        message = answer.json()["error"]["message"]
        assert f"'{field}' of the body is not read" in message
        assert "behind the address" in message


def test_two_photographs_for_one_are_refused(client: TestClient, gallery: Gallery) -> None:
    files = [("photo", png(face_of(1))), ("photo", png(face_of(2)))]
    answer = client.post("/api/v1/gallery/faces", params={"person": "Ann"}, files=files)
    assert answer.status_code == 422
    assert "`photo` more than once" in answer.json()["error"]["message"]
    assert gallery.people() == []


def test_two_photographs_for_one_in_json_are_refused(client: TestClient, gallery: Gallery) -> None:
    photos = [base64.b64encode(png(face_of(number))).decode() for number in (1, 2)]
    body = f'{{"photo": "{photos[0]}", "photo": "{photos[1]}"}}'
    headers = {"content-type": "application/json"}
    answer = client.post("/api/v1/gallery/faces", params={"person": "Ann"}, content=body, headers=headers)
    assert answer.status_code == 422
    assert "The body has `photo` more than once." in answer.json()["error"]["message"]
    assert gallery.people() == []


@pytest.mark.parametrize("kind", [b"application/json", b"multipart/form-data; boundary=B"])
def test_an_upload_that_is_cut_off_is_no_failure_of_the_service(
    gallery: Gallery, caplog: pytest.LogCaptureFixture, kind: bytes
) -> None:
    faces = FaceService(PlainModel(), FaceFinder(aligned=True), gallery, pixels=10**6, most=3)
    app = create_app(faces, Keys({key_digest("r"): "read"}, 1000), Limits())
    app.state.ready = True
    came = iter([{"type": "http.request", "body": b"--B", "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(came)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"x-api-key", b"r"), (b"content-type", kind), (b"content-length", b"999")]
    scope = {"type": "http", "method": "POST", "path": "/api/v1/detect", "query_string": b""}
    with caplog.at_level(logging.INFO, logger="oaml.serve"):
        asyncio.run(app({**scope, "headers": headers, "http_version": "1.1", "scheme": "http"}, receive, send))
    assert sent[0]["status"] == 499
    (line,) = [json.loads(record.message) for record in caplog.records if record.name == "oaml.serve"]
    assert (line["route"], line["status"]) == ("/api/v1/detect", 499)


def test_a_key_that_asks_too_often_waits() -> None:
    now = [0.0]
    keys = Keys({key_digest("k"): "read"}, 2, clock=lambda: now[0])
    key = keys.find("k")
    assert key is not None
    assert [keys.spend(key) for _ in range(2)] == [0, 0]
    assert keys.spend(key) == pytest.approx(30)
    now[0] = 30.0
    assert keys.spend(key) == 0
    with started(None, Limits(per_minute=1)) as client:
        client.headers["X-API-Key"] = "r"
        answers = [client.get("/api/v1/gallery/people") for _ in range(2)]
    assert [one.status_code for one in answers] == [404, 429]
    assert int(answers[1].headers["retry-after"]) >= 1


class Slow(PlainModel):
    """A model that waits until it may go on, once it was tested."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.tested = threading.Event(), False

    def records(self, images: np.ndarray) -> Any:
        if self.tested:
            self.go.wait(60)
        self.tested = True
        return super().records(images)


def test_work_that_takes_too_long_or_is_too_much_is_refused() -> None:
    model = Slow()
    limits = Limits(seconds=0.2, workers=1, waiting=0)
    with started(None, limits, model) as client:
        client.headers["X-API-Key"] = "r"
        late = compare(client, png(face_of(1)), png(face_of(1)))
        busy = compare(client, png(face_of(1)), png(face_of(1)))
        model.go.set()
    assert (late.status_code, late.json()["error"]["code"]) == (504, "too_slow")
    assert (busy.status_code, busy.json()["error"]["code"]) == (503, "busy")


def test_a_service_that_is_told_to_end_answers_what_it_has_begun() -> None:
    model, limits = Slow(), Limits(seconds=60, workers=2)
    faces = FaceService(model, FaceFinder(aligned=True), None, pixels=limits.pixels, most=limits.faces)
    app = create_app(faces, Keys({key_digest("r"): "read"}, 1000), limits)
    server, listening = uvicorn.Server(uvicorn.Config(app, log_level="warning")), open_socket("127.0.0.1", 0)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    running = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    running.start()
    photos = {"first": png(face_of(1)), "second": png(face_of(1, 1))}

    def ask(_: int) -> int:
        headers = {"X-API-Key": "r"}
        return httpx.post(f"{address}/api/v1/compare", files=photos, headers=headers, timeout=60).status_code

    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(ask, number) for number in range(6)]
        while app.state.work.pending < 6:
            threading.Event().wait(0.01)
        server.should_exit = True
        model.go.set()
        assert [one.result() for one in asked] == [200] * 6
    running.join()
    with pytest.raises(httpx.ConnectError):
        ask(0)


@pytest.mark.parametrize("line", ["owner " + "a" * 64, "read abc", "read", "read " + "G" * 64])
def test_a_file_of_keys_with_another_line_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\nadmin {'a' * 64}\n")
    assert read_keys(file) == {"a" * 64: "admin"}
    file.write_text(f"admin {'a' * 64}\n{line}\n")
    with pytest.raises(ConfigError, match="line 2"):
        read_keys(file)
