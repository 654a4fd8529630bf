"""A service whose model or gallery changes under way: who answers, what is refused, and that no request fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from plain_model import PlainModel, face_of
from test_service import KEYS, compare, enrol, png

from oaml_core.errors import ConfigError, StoreError
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.rebuild import rebuild
from oaml_core.photos.faces import FaceFinder
from oaml_core.serve.answers import EnrolAnswer
from oaml_core.serve.app import create_app
from oaml_core.serve.faces import FaceService
from oaml_core.serve.generations import Generations
from oaml_core.serve.keys import Keys, key_digest
from oaml_core.serve.limits import Limits
from oaml_core.serve.trial import TrialRules

FIRST = PlainModel("first", thresholds={1e-2: -10.0})
SECOND = PlainModel("second", turn=3, thresholds={1e-2: -10.0})
AT_ONCE = TrialRules(share=0)
HALF = TrialRules(share=0.5, requests=4)


class Models:
    """A source whose newest model is set by the test."""

    def __init__(self, newest: PlainModel) -> None:
        self.now, self.elsewhere, self.away = newest, {}, False

    def newest(self) -> str:
        if self.away:
            raise StoreError("The store cannot be reached.")
        return f"{self.now.version} {id(self.now)}"

    def load(self, address: str = "") -> PlainModel:
        return self.elsewhere[address] if address else self.now

    def address(self) -> str:
        return "here"


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery(tmp_path / "people.gallery", "first") as opened:
        yield opened


def started(
    gallery: Gallery | None,
    models: Models | None,
    rules: TrialRules = AT_ONCE,
    model: Any = FIRST,
    *,
    is_newest: bool = True,
    **limits: Any,
) -> TestClient:
    faces = FaceService(model, FaceFinder(aligned=True), gallery, pixels=10**6, most=3)
    keys = Keys({key_digest(key): role for key, role in KEYS.items()}, 10**6)
    return TestClient(
        create_app(faces, keys, Limits(**limits), models, rules, is_newest=is_newest),
        headers={"X-API-Key": "a"},
        raise_server_exceptions=False,
    )


def generations(client: TestClient) -> Generations:
    found: Generations = client.app.state.models  # type: ignore[attr-defined]
    return found


def identify(client: TestClient, person: int) -> Any:
    return client.post("/api/v1/identify", files={"photo": png(face_of(person, 5))})


def asked(client: TestClient, count: int) -> list[Any]:
    """Compare `count` pairs, two of the same person and two of different people by turns."""
    return [compare(client, png(face_of(1)), png(face_of(1 + turn // 2 % 2, 1))) for turn in range(count)]


def test_a_rebuilt_gallery_is_followed_to_its_model(gallery: Gallery) -> None:
    models = Models(FIRST)
    with started(gallery, models) as client:
        for person in range(3):
            enrol(client, f"p {person}", png(face_of(person)), keep_image=True)
        models.now = SECOND
        with Gallery(gallery.path) as other:
            assert rebuild(other, SECOND, "second", None).switched
        found = identify(client, 2)
        assert found.status_code == 200, found.text
        assert found.json()["people"][0]["person"] == "p 2"
        assert enrol(client, "p 9", png(face_of(9))).json()["key"]
        assert 'oaml_model{version="second"} 1.0' in client.get("/metrics").text


def test_a_gallery_names_the_model_that_it_was_rebuilt_for(gallery: Gallery) -> None:
    models = Models(FIRST)
    with started(gallery, models) as client:
        enrol(client, "p 1", png(face_of(1)), keep_image=True)
        models.elsewhere["/there/model.onnx"] = SECOND
        with Gallery(gallery.path) as other:
            rebuild(other, SECOND, "second", None, address="/there/model.onnx")
        assert identify(client, 1).json()["people"][0]["person"] == "p 1"


def test_without_the_gallery_s_model_searches_say_so_and_comparing_goes_on(gallery: Gallery) -> None:
    with started(gallery, Models(FIRST)) as client:
        enrol(client, "p 1", png(face_of(1)), keep_image=True)
        with Gallery(gallery.path) as other:
            rebuild(other, SECOND, "second", None)
        for answer in (identify(client, 1), enrol(client, "p 2", png(face_of(2)))):
            assert answer.status_code == 503
            assert "model second" in answer.json()["error"]["message"]
        assert compare(client, png(face_of(1)), png(face_of(1))).json()["decision"] == "same"


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


def test_a_new_model_takes_over_after_its_trial() -> None:
    models = Models(FIRST)
    with started(None, models, HALF) as client:
        models.now = SECOND
        generations(client).look()
        answers = asked(client, 8)
        assert {one.status_code for one in answers} == {200}
        assert generations(client).present.model is FIRST
        generations(client).look()
        assert generations(client).present.model is SECOND
        assert asked(client, 1)[0].json()["decision"] == "same"


class Broken(PlainModel):
    """Fails once it was tested, or answers as it is told."""

    def __init__(self, how: str) -> None:
        super().__init__(f"broken {how}", thresholds={1e-2: 10.0 if how == "refuses all" else -10.0})
        self.how, self.records_made = how, 0

    def records(self, images: np.ndarray) -> Any:
        self.records_made += 1
        if self.how == "fails" and self.records_made > 1:
            raise RuntimeError("no memory")
        found = super().records(images)
        if self.how == "nan from the start" or (self.how == "nan later" and self.records_made > 1):
            return found._replace(embedding=found.embedding * np.nan, local_features=found.local_features * np.nan)
        return found


@pytest.mark.parametrize("how", ["fails", "nan from the start", "nan later", "refuses all"])
def test_a_model_that_is_off_is_refused_and_no_request_fails(how: str) -> None:
    models = Models(FIRST)
    with started(None, models, HALF) as client:
        models.now = Broken(how)
        generations(client).look()
        answers = asked(client, 10)
        generations(client).look()
        generations(client).look()
        assert [one.status_code for one in answers] == [200] * 10
        assert generations(client).present.model is FIRST
        assert generations(client).trial is None
        assert 'oaml_model_events_total{event="refused"} 1.0' in client.get("/metrics").text
        models.now = SECOND
        generations(client).look()
        trial = generations(client).trial
        assert trial is not None
        assert trial.faces.model is SECOND


def test_a_model_that_fails_after_the_change_is_gone_back_from() -> None:
    models = Models(FIRST)
    with started(None, models, AT_ONCE) as client:
        models.now = Broken("fails")
        generations(client).look()
        assert generations(client).present.model is models.now
        assert {one.status_code for one in asked(client, 3)} == {200}
        assert generations(client).present.model is FIRST


def test_a_new_model_describes_the_gallery_before_it_takes_over(gallery: Gallery) -> None:
    models = Models(FIRST)
    with started(gallery, models) as client:
        for person in range(3):
            enrol(client, f"p {person}", png(face_of(person)), keep_image=True)
        models.now = SECOND
        generations(client).look()
        assert generations(client).present.model is SECOND
        assert identify(client, 1).json()["people"][0]["person"] == "p 1"
    with Gallery(gallery.path) as other:
        assert other.model == "second"
        assert other.meta("model_at") == "here"


def test_a_gallery_that_a_new_model_cannot_describe_keeps_the_old_one(gallery: Gallery) -> None:
    models = Models(FIRST)
    with started(gallery, models) as client:
        enrol(client, "p 1", png(face_of(1)))  # the picture is not kept
        models.now = SECOND
        generations(client).look()
        assert generations(client).present.model is FIRST
        assert identify(client, 1).json()["people"][0]["person"] == "p 1"


def test_a_store_that_is_away_and_a_pointer_that_moves_back_change_nothing() -> None:
    models = Models(FIRST)
    with started(None, models, HALF) as client:
        models.away = True
        generations(client).look()
        models.away = False
        models.now = SECOND
        generations(client).look()
        assert generations(client).trial is not None
        models.now = FIRST
        generations(client).look()
        assert generations(client).trial is None
        assert {one.status_code for one in asked(client, 2)} == {200}


def test_requests_go_on_while_models_and_galleries_change(gallery: Gallery) -> None:
    """Searches and enrolments from several threads while two models take turns: none fails, none names a stranger."""
    models = Models(FIRST)
    failed: list[str] = []
    with started(gallery, models, workers=3) as client:
        for person in range(4):
            enrol(client, f"p {person}", png(face_of(person)), keep_image=True)

        def search(person: int) -> None:
            for turn in range(12):
                found = identify(client, person)
                if found.status_code != 200 or found.json()["people"][0]["person"] != f"p {person}":
                    failed.append(found.text)
                enrol(client, f"p {person}", png(face_of(person, 20 + turn)), keep_image=True)

        threads = [threading.Thread(target=search, args=(person,)) for person in range(3)]
        for thread in threads:
            thread.start()
        for turn in range(4):
            models.now = SECOND if turn % 2 == 0 else FIRST
            generations(client).look()
        for thread in threads:
            thread.join()
        assert failed == []
        faces = client.get("/api/v1/gallery/people").json()
    assert [one["faces"] for one in faces] == [13, 13, 13, 1]


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"differing": -0.1}, {"requests": 0}, {"seconds": -1}])
def test_rules_of_a_trial_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="cannot be"):
        TrialRules(**wrong)
