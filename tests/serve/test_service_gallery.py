"""The gallery of the service: people are enrolled, renamed, moved and deleted."""

from __future__ import annotations

import base64
import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from plain_model import covered, face_of
from service_client import MODEL, compare, enrol, png

from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.detected import Detected
from oaml_core.inference.gallery.encryption import encrypt_contents
from oaml_core.inference.gallery.sealing import GalleryCipher
from oaml_core.photos.quality import Quality


def test_from_enrolling_to_deleting(client: TestClient, gallery: Gallery) -> None:
    empty = client.post("/api/v1/identify", files={"photo": png(face_of(1))}).json()
    assert (empty["decision"], empty["people"]) == ("unknown", [])
    for person in range(4):
        assert enrol(client, f"p {person}", png(face_of(person))).json()["key"] > 0
    (there,) = client.get("/api/v1/gallery/faces", params={"person": "p 0"}).json()
    assert (there["score"], there["box"], there["quality"]) == (1.0, None, None)  # it was said to be aligned
    assert enrol(client, "p 0", png(face_of(0))).json() == {"key": there["key"], "added": False}
    found = client.post("/api/v1/identify", params={"top": 2}, files={"photo": png(covered(face_of(2, 5)))}).json()
    assert found["decision"] == "known"
    assert found["people"][0]["person"] == "p 2"
    assert len(found["people"]) == 2
    assert client.get("/api/v1/gallery/people").json()[1] == {"name": "p 1", "faces": 1}
    key = client.get("/api/v1/gallery/faces", params={"person": "p 1"}).json()[0]["key"]
    assert client.delete(f"/api/v1/gallery/faces/{key}").json() == {"faces": 1}
    assert client.delete("/api/v1/gallery/people", params={"person": "p 2"}).json() == {"faces": 1}
    assert client.delete("/api/v1/gallery/people", params={"person": "p 2"}).status_code == 404
    assert client.post("/api/v1/gallery/merge", params={"person": "p 0", "into": "p 3"}).json() == {"faces": 1}
    left = client.post("/api/v1/identify", files={"photo": png(face_of(2, 5))}).json()["people"]
    assert [one["person"] for one in left] == ["p 3"]
    assert b"p 2" not in gallery.path.read_bytes()


def test_pictures_are_kept_only_where_asked_and_nothing_touches_the_disk_else(
    client: TestClient, gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("an upload went to a file")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    assert len(png(noise)) > 100_000
    assert compare(client, png(noise), png(noise)).status_code == 200
    assert {path.name for path in tmp_path.iterdir()} == {"people.gallery"}
    first = enrol(client, "a", png(face_of(1))).json()["key"]
    second = enrol(client, "a", png(face_of(2)), keep_image=True).json()["key"]
    assert gallery.image(first) is None
    assert gallery.image(second) is not None


def test_people_are_renamed_and_their_faces_move_and_are_shown(client: TestClient) -> None:
    for name, person in (("Ann", 1), ("Änne", 2), ("Bob", 3)):
        enrol(client, name, png(face_of(person)), keep_image=True)
    api = "/api/v1/gallery"
    assert client.post(f"{api}/rename", params={"person": "Bob", "to": " Bill "}).json() == {"faces": 1}
    assert client.post(f"{api}/faces/1/move", params={"person": "Bill"}).json() == {"faces": 1}
    assert client.get(f"{api}/people").json() == [{"name": "Änne", "faces": 1}, {"name": "Bill", "faces": 2}]
    for part in ("ÄNN", "A\u0308n", "anne"):
        assert [one["name"] for one in client.get(f"{api}/people", params={"part": part}).json()] == ["Änne"]
    assert len(client.get(f"{api}/people", params={"most": 1}).json()) == 1
    shown = client.get(f"{api}/faces/1/image")
    assert shown.headers["content-type"] == "image/png"
    assert np.array_equal(np.asarray(Image.open(BytesIO(shown.content))), face_of(1))
    client.headers["X-API-Key"] = "e"
    assert client.get(f"{api}/faces/1/image").status_code == 403


def test_a_service_without_the_new_key_goes_on_comparing_and_says_why_it_does_not_search(
    client: TestClient, gallery: Gallery
) -> None:
    enrol(client, "Ann", png(face_of(1)))
    with Gallery(gallery.path) as other:
        encrypt_contents(other, GalleryCipher(bytes(32)))
    refused = client.post("/api/v1/identify", files={"photo": png(face_of(1))}), enrol(client, "Bob", png(face_of(2)))
    for answer in refused:
        assert answer.status_code == 503
        assert answer.json()["error"]["message"] == "The gallery is encrypted, and no key is given."
        assert "retry-after" in answer.headers
    assert compare(client, png(face_of(1)), png(face_of(1))).status_code == 200
    assert client.get("/api/v1/gallery/people").json() == [{"name": "Ann", "faces": 1}]
    assert client.delete("/api/v1/gallery/people", params={"person": "Ann"}).json() == {"faces": 1}


def test_faces_are_split_off_and_replaced(client: TestClient, gallery: Gallery) -> None:
    for picture in range(3):
        enrol(client, "Ann", png(face_of(1, picture)))
    api = "/api/v1/gallery"
    assert client.post(f"{api}/split", params={"person": "Ann", "to": "Eve", "key": [1, 3]}).json() == {"faces": 2}
    assert client.get(f"{api}/people").json() == [{"name": "Ann", "faces": 1}, {"name": "Eve", "faces": 2}]
    replaced = client.put(f"{api}/faces/2", files={"photo": png(face_of(2))}, params={"keep_image": True})
    assert replaced.json() == {"key": 4, "added": True}
    (face,) = client.get(f"{api}/faces", params={"person": "Ann"}).json()
    assert (face["key"], face["kept"]) == (4, True)
    assert client.put(f"{api}/faces/2", files={"photo": png(face_of(2))}).status_code == 404
    assert client.put(f"{api}/faces/1", files={"photo": png(face_of(1, 2))}).status_code == 422
    assert sorted(gallery.faces()) == [1, 3, 4]


def test_a_search_is_explained_by_a_picture_to_those_who_may_see_kept_faces(client: TestClient) -> None:
    enrol(client, "Ann", png(face_of(1)), keep_image=True)
    enrol(client, "Bob", png(face_of(2)))

    def picture(person: int, **query: object) -> str | None:
        photo = {"photo": png(covered(face_of(person, 5)))}
        found: str | None = client.post("/api/v1/identify", params=query, files=photo).json()["picture"]
        return found

    drawn = picture(1, picture=True)
    assert drawn is not None
    shown = Image.open(BytesIO(base64.b64decode(drawn.removeprefix("data:image/png;base64,"))))
    assert shown.width > 200
    assert picture(1) is None
    assert picture(2, picture=True) is None
    client.headers["X-API-Key"] = "e"
    assert picture(1, picture=True) is None


def test_faces_are_listed_with_box_and_quality(client: TestClient, gallery: Gallery) -> None:
    quality = Quality(83.25, 12.5, 131.0, -2.125, 0.0625)
    records = MODEL.records(face_of(1)[None])
    for number, detected in enumerate((Detected(0.75, (1.0, 2.0, 30.5, 40.0), quality), None)):
        gallery.add("Ann", records, source="", digest=str(number), detected=detected)
    known, former = client.get("/api/v1/gallery/faces", params={"person": "Ann"}).json()
    assert (known["score"], known["box"]) == (0.75, [1.0, 2.0, 30.5, 40.0])
    measured = {"eye_distance": 83.25, "sharpness": 12.5, "brightness": 131.0, "roll": -2.125, "yaw": 0.0625}
    assert known["quality"] == measured
    assert [former[part] for part in ("score", "box", "quality")] == [None] * 3
