"""Changes of a gallery that take longer than a request may: made or withdrawn, and never both."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from changing_models import FIRST, generations, started
from fastapi.testclient import TestClient
from plain_model import face_of
from service_client import enrol, png

from oaml_core.inference.gallery.database import Gallery
from oaml_core.serve.answers import EnrolAnswer


def slow_enrolment(client: TestClient) -> Any:
    return enrol(client, "late", png(face_of(7)))


def slow_deletion(client: TestClient) -> Any:
    return client.delete("/api/v1/gallery/people", params={"person": "p 1"})


def slow_merge(client: TestClient) -> Any:
    return client.post("/api/v1/gallery/merge", params={"person": "p 1", "into": "p 2"})


@pytest.mark.parametrize("change", [slow_enrolment, slow_deletion, slow_merge])
def test_a_change_that_was_answered_by_too_slow_is_never_made(
    gallery: Gallery, change: Callable[[TestClient], Any]
) -> None:
    with started(gallery, None, seconds=0.3, workers=1) as client, Gallery(gallery.path) as other:
        for person in (1, 2):
            records = FIRST.records(face_of(person)[None])
            other.add(f"p {person}", records, source="", digest=str(person))
        before = other.people()
        with other.change():  # nobody else can write meanwhile
            late = change(client)
        # Leaving the service waits for the thread that would have made the change.
    assert late.status_code == 504, late.text
    assert "nothing was changed" in late.json()["error"]["message"]
    assert gallery.people() == before


def test_a_change_whose_commit_has_begun_is_waited_for(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    late, go = threading.Event(), threading.Event()

    def add(person: str, photo: bytes, keep: bool) -> EnrolAnswer:
        with gallery.change() as db:
            db.execute("INSERT INTO people (name) VALUES (?)", (person,))
        late.set()
        go.wait(60)
        return EnrolAnswer(key=1, added=True)

    with started(gallery, None, seconds=0.1) as client:
        monkeypatch.setattr(generations(client).present, "enrol", lambda *words: add(*words))
        releases = threading.Thread(target=lambda: late.wait(60) and threading.Timer(0.5, go.set).start())
        releases.start()
        answer = enrol(client, "made", png(face_of(1)))
        releases.join()
    assert answer.status_code == 200
    assert [one.name for one in gallery.people()] == ["made"]
