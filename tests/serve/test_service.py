"""Comparisons as a client of the service sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from plain_model import PlainModel, covered, face_of
from service_client import compare, enrol, png, started

from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.records import FaceRecords, Scores


def test_two_photographs_are_compared(client: TestClient) -> None:
    same = compare(client, png(face_of(1)), png(face_of(1, 1)), picture=True).json()
    other = compare(client, png(face_of(1)), png(face_of(2))).json()
    assert same["decision"] == "same"
    assert other["decision"] == "different"
    assert same["score"] > same["threshold"] > other["score"]
    assert same["picture"].startswith("data:image/png;base64,")
    assert other["picture"] is None
    assert same["visible_share"] == 1.0


def test_a_covered_half_is_shown_and_too_little_is_undecided(client: TestClient) -> None:
    half = compare(client, png(face_of(1)), png(covered(face_of(1, 1)))).json()
    assert half["decision"] == "same"
    assert half["visible_share"] == pytest.approx(0.5, abs=0.01)
    assert "mouth" in half["faces"][1]["covered"]
    assert np.array(half["faces"][1]["visibility"]).shape == (4, 4)
    nothing = compare(client, png(face_of(1)), png(np.zeros((112, 112, 3), np.uint8))).json()
    assert nothing["decision"] == "undecided"
    assert "0 % of the face" in nothing["reason"]


def test_without_a_threshold_for_the_rate_nothing_is_decided(client: TestClient) -> None:
    found = compare(client, png(face_of(1)), png(face_of(1)), far=1e-5).json()
    assert found["decision"] == "undecided"
    assert "0.01" in found["reason"]


def test_what_a_pair_can_still_prove_decides_and_is_told(gallery: Gallery) -> None:
    class Judged(PlainModel):
        def by_visible_share(self, score: str) -> list[dict[str, Any]]:
            one = {"far": 1e-2, "tar": 0.9, "tar_interval": [0.85, 0.95], "genuine": 100, "low": 0.6, "high": 1.0}
            return [one, one | {"tar": 0.2, "tar_interval": [0.1, 0.3], "low": 0.0, "high": 0.6}]

    with started(gallery, model=Judged(thresholds={1e-2: -10.0})) as client:
        client.headers["X-API-Key"] = "a"
        whole = compare(client, png(face_of(1)), png(face_of(2))).json()
        half = compare(client, png(covered(face_of(1))), png(face_of(2))).json()
        enrol(client, "one", png(face_of(1)))
        known = client.post("/api/v1/identify", files={"photo": png(face_of(1, 1))}).json()
        stranger = client.post("/api/v1/identify", files={"photo": png(covered(face_of(2)))}).json()
        face = client.post("/api/v1/detect", files={"photo": png(covered(face_of(1)))}).json()
    assert (whole["decision"], whole["expected"]["tar"]) == ("different", 0.9)
    assert (half["decision"], half["expected"]["interval"]) == ("undecided", [0.1, 0.3])
    assert "20 % are accepted" in half["reason"]
    assert (known["decision"], known["expected"]["pairs"]) == ("known", 100)
    assert stranger["decision"] == "undecided"
    for shown in (half["faces"][0], stranger["face"], *face["faces"]):
        assert [one["tar"] for one in shown["proves"]] == [0.2]
        assert "covered: nose, mouth" in shown["remark"]


def test_a_model_that_fails_its_self_test_does_not_start(gallery: Gallery) -> None:
    class Broken(PlainModel):
        def records(self, images: np.ndarray) -> Any:
            found = super().records(images)
            return found._replace(embedding=found.embedding * np.nan)

    with pytest.raises(Exception, match="not finite"), started(gallery, model=Broken()):
        pass


def test_the_likelihood_ratio_comes_with_its_interval(gallery: Gallery) -> None:
    class Weighing(PlainModel):
        interval: np.ndarray | None = np.array([[2.0, np.inf]])

        def scores(self, probe: FaceRecords, gallery: FaceRecords) -> Scores:
            plain = super().scores(probe, gallery)
            rows = len(plain.global_score)
            known = None if self.interval is None else np.repeat(self.interval, rows, axis=0)
            return plain._replace(log_likelihood_ratio=np.full(rows, 4.5), ratio_interval=known)

    model = Weighing(thresholds={1e-2: -10.0})
    with started(gallery, model=model) as client:
        client.headers["X-API-Key"] = "a"
        photo = png(face_of(1))
        enrol(client, "Ann", photo)
        for wanted in ([2.0, None], None):
            found = compare(client, photo, photo).json()
            best = client.post("/api/v1/identify", files={"photo": photo}).json()["people"][0]
            assert [one["log_likelihood_ratio"] for one in (found, best)] == [4.5, 4.5]
            assert [one["ratio_interval"] for one in (found, best)] == [wanted, wanted]
            Weighing.interval = None


class Embeddings(PlainModel):
    """A model that compares embeddings alone, as those of others that were added."""

    def records(self, images: np.ndarray) -> FaceRecords:
        found = super().records(images)
        return found._replace(
            visibility=np.ones_like(found.visibility), local_features=np.zeros_like(found.local_features)
        )

    def scores(self, probe: FaceRecords, gallery: FaceRecords) -> Scores:
        return super().scores(probe, gallery)._replace(local_score=None, combined_score=None)


def test_a_model_that_looks_at_no_cover_calls_nothing_visible(tmp_path: Path) -> None:
    model = Embeddings()
    with Gallery(tmp_path / "people.gallery", model.version) as gallery, started(gallery, model=model) as client:
        client.headers["X-API-Key"] = "a"
        enrol(client, "Ann", png(face_of(1)))
        half = png(covered(face_of(1)))
        found = compare(client, half, half).json()
        identified = client.post("/api/v1/identify", files={"photo": half}).json()
        remark = client.get("/api/v1/gallery/faces", params={"person": "Ann"}).json()
    assert found["visible_share"] is None
    for face in (*found["faces"], identified["face"]):
        assert face["visible_share"] is None
        assert face["covered"] == []
        assert "what is covered is not known" in face["remark"]
    assert [one["visible_share"] for one in identified["people"]] == [None]
    assert "not known" in str(remark)
