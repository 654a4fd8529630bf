"""A service whose model or gallery changes under way: who answers, what is refused, and that no request fails."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from changing_models import AT_ONCE, FIRST, HALF, SECOND, Models, asked, generations, identify, started
from plain_model import PlainModel, face_of
from service_client import compare, enrol, png

from oaml_core.errors import ConfigError
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.rebuild import rebuild
from oaml_core.serve.trial import TrialRules


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
