"""Texts that the service shows: logs, figures, the page, the description, and refusals."""

from __future__ import annotations

import json
import logging

import pytest
from fastapi.testclient import TestClient
from plain_model import face_of
from service_client import compare, enrol, png

from oaml_core.errors import DataError, StoreError
from oaml_core.inference.gallery.database import Gallery
from oaml_core.serve.keys import key_digest
from oaml_core.serve.open_routes import KINDS


def test_logs_and_figures_name_no_person(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="oaml.serve"):
        enrol(client, "Ann Other", png(face_of(1)))
        client.put("/api/v1/gallery/faces/1", files={"photo": png(face_of(2))})
        client.post("/api/v1/gallery/faces/2/move", params={"person": "Ann Other-Other"})
        client.delete("/api/v1/gallery/faces/9")
        client.delete("/api/v1/gallery/people", params={"person": "Ann Other-Other"})
    lines = [json.loads(record.message) for record in caplog.records if record.name == "oaml.serve"]
    numbers = [{key: line[key] for key in ("status", "face", "replaced", "faces") if key in line} for line in lines]
    assert numbers == [
        {"status": 200, "face": 1, "faces": 1},
        {"status": 200, "face": 2, "replaced": 1, "faces": 1},
        {"status": 200, "face": 2, "faces": 1},
        {"status": 404, "face": 9},
        {"status": 200, "faces": 1},
    ]
    assert all(line["key"] == key_digest("a")[:8] for line in lines)
    figures = client.get("/metrics").text
    assert 'oaml_requests_total{route="/api/v1/gallery/faces",status="200"} 1.0' in figures
    assert "Ann" not in caplog.text + figures


def test_the_page_asks_no_other_host(client: TestClient) -> None:
    answer = client.get("/")
    text = "".join(client.get(path).text for path in ("/", *(f"/page/{name}" for name in KINDS)))
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "access-control-allow-origin" not in answer.headers
    assert "://" not in text
    assert "innerHTML" not in text


def test_refusals_name_no_command_and_no_path_of_the_machine(
    client: TestClient, gallery: Gallery, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever calls cannot type `oaml` there; who starts the program can, and is told."""
    enrol(client, "a", png(face_of(1)))
    enrol(client, "b", png(face_of(2)))
    api = "/api/v1/gallery"
    refused = {
        "DELETE people?person=none": 404,
        "DELETE faces/99": 404,
        "POST merge?person=none&into=a": 404,
        "POST merge?person=a&into=none": 404,
        "POST merge?person=a&into=a": 422,
        "POST rename?person=none&to=c": 404,
        "POST rename?person=a&to=b": 422,
        "POST rename?person=a&to=%00": 422,
        "POST faces/99/move?person=a": 404,
        "GET faces?person=none": 404,
        "GET faces/1/image": 404,
    }
    answers = {what: client.request(*what.replace(" ", f" {api}/").split(" ")) for what in refused}
    assert {what: answer.status_code for what, answer in answers.items()} == refused
    with gallery.change() as db:
        db.execute("UPDATE records SET detail = x'00'")
    damaged = client.post("/api/v1/identify", files={"photo": png(face_of(1))})
    assert (damaged.status_code, "is no record" in damaged.text) == (422, True)
    with gallery.change() as db:
        db.execute("UPDATE meta SET value = 'other' WHERE key = 'model'")
    moved = client.post("/api/v1/identify", files={"photo": png(face_of(1))})
    assert moved.status_code == 503

    def away(*_: object) -> None:
        raise StoreError(f"{gallery.path} cannot be reached. Run `oaml doctor`.")

    monkeypatch.setattr(Gallery, "people", away)
    broken = client.get(f"{api}/people")
    assert broken.status_code == 500
    assert str(gallery.path) in caplog.text
    oblong = compare(client, png(face_of(1)[:90]), png(face_of(1)))
    assert (oblong.status_code, "an aligned face is square" in oblong.text) == (422, True)
    for answer in (*answers.values(), damaged, moved, broken, oblong):
        assert "oaml " not in answer.text
        assert "--" not in answer.text
        assert str(gallery.path.parent) not in answer.text
    with pytest.raises(DataError, match=r"nobody called 'none'.*oaml gallery ls"):
        gallery.remove_person("none")
