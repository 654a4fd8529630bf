"""The service as a client sees it: answers, refusals, limits, and what it keeps."""

from __future__ import annotations

import json
import logging
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient
from PIL import Image
from plain_model import PlainModel, covered, face_of

from oaml_core.errors import ConfigError, DataError, StoreError
from oaml_core.inference.gallery.database import Gallery
from oaml_core.photos.faces import FaceFinder
from oaml_core.serve.app import create_app
from oaml_core.serve.faces import FaceService
from oaml_core.serve.keys import Keys, key_digest, read_keys
from oaml_core.serve.limits import Limits
from oaml_core.serve.open_routes import KINDS
from oaml_core.serve.server import open_socket

KEYS = {"r": "read", "e": "enrol", "a": "admin"}
MODEL = PlainModel(thresholds={1e-2: -10.0})
LIMITS = Limits(body=300_000, pixels=200 * 200, faces=3, seconds=60, workers=1, waiting=1, per_minute=1000)


def png(image: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def started(gallery: Gallery | None, limits: Limits = LIMITS, model: Any = MODEL) -> TestClient:
    faces = FaceService(model, FaceFinder(aligned=True), gallery, pixels=limits.pixels, most=limits.faces)
    keys = Keys({key_digest(key): role for key, role in KEYS.items()}, limits.per_minute)
    return TestClient(create_app(faces, keys, limits), raise_server_exceptions=False)


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery(tmp_path / "people.gallery", MODEL.version) as opened:
        yield opened


@pytest.fixture
def client(gallery: Gallery) -> Iterator[TestClient]:
    with started(gallery) as running:
        running.headers["X-API-Key"] = "a"
        yield running


def compare(client: TestClient, first: bytes, second: bytes, **query: Any) -> Any:
    return client.post("/api/v1/compare", params=query, files={"first": first, "second": second})


def enrol(client: TestClient, person: str, photo: bytes, **query: Any) -> Any:
    return client.post("/api/v1/gallery/faces", params={"person": person, **query}, files={"photo": photo})


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


def test_from_enrolling_to_deleting(client: TestClient, gallery: Gallery) -> None:
    empty = client.post("/api/v1/identify", files={"photo": png(face_of(1))}).json()
    assert (empty["decision"], empty["people"]) == ("unknown", [])
    for person in range(4):
        assert enrol(client, f"p {person}", png(face_of(person))).json()["key"] > 0
    (there,) = client.get("/api/v1/gallery/faces", params={"person": "p 0"}).json()
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


def test_a_model_that_fails_its_self_test_does_not_start(gallery: Gallery) -> None:
    class Broken(PlainModel):
        def records(self, images: np.ndarray) -> Any:
            found = super().records(images)
            return found._replace(embedding=found.embedding * np.nan)

    with pytest.raises(Exception, match="not finite"), started(gallery, model=Broken()):
        pass


def test_logs_and_figures_name_no_person(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="oaml.serve"):
        enrol(client, "Ann Other", png(face_of(1)))
        client.delete("/api/v1/gallery/people", params={"person": "Ann Other"})
    lines = [json.loads(record.message) for record in caplog.records if record.name == "oaml.serve"]
    assert [line["status"] for line in lines] == [200, 200]
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


def test_the_description_names_every_route_and_its_errors(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/api/v1/compare", "/api/v1/identify", "/api/v1/detect", "/api/v1/gallery/faces"} <= set(paths)
    assert {"401", "413", "422", "429", "503", "504"} <= set(paths["/api/v1/compare"]["post"]["responses"])


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
    for answer in (*answers.values(), damaged, moved, broken):
        assert "oaml " not in answer.text
        assert str(gallery.path.parent) not in answer.text
    with pytest.raises(DataError, match=r"nobody called 'none'.*oaml gallery ls"):
        gallery.remove_person("none")


def test_people_are_renamed_and_their_faces_move_and_are_shown(client: TestClient) -> None:
    for name, person in (("Ann", 1), ("Änne", 2), ("Bob", 3)):
        enrol(client, name, png(face_of(person)), keep_image=True)
    api = "/api/v1/gallery"
    assert client.post(f"{api}/rename", params={"person": "Bob", "to": " Bill "}).json() == {"faces": 1}
    assert client.post(f"{api}/faces/1/move", params={"person": "Bill"}).json() == {"faces": 1}
    assert client.get(f"{api}/people").json() == [{"name": "Bill", "faces": 2}, {"name": "Änne", "faces": 1}]
    assert [one["name"] for one in client.get(f"{api}/people", params={"part": "ÄNN"}).json()] == ["Änne"]
    assert len(client.get(f"{api}/people", params={"most": 1}).json()) == 1
    shown = client.get(f"{api}/faces/1/image")
    assert shown.headers["content-type"] == "image/png"
    assert np.array_equal(np.asarray(Image.open(BytesIO(shown.content))), face_of(1))
    client.headers["X-API-Key"] = "e"
    assert client.get(f"{api}/faces/1/image").status_code == 403


@pytest.mark.parametrize("line", ["owner " + "a" * 64, "read abc", "read", "read " + "G" * 64])
def test_a_file_of_keys_with_another_line_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\nadmin {'a' * 64}\n")
    assert read_keys(file) == {"a" * 64: "admin"}
    file.write_text(f"admin {'a' * 64}\n{line}\n")
    with pytest.raises(ConfigError, match="line 2"):
        read_keys(file)
