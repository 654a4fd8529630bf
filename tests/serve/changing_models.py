"""A service in this process whose models and gallery a test changes."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient
from plain_model import PlainModel, face_of
from service_client import KEYS, compare, png

from oaml_core.errors import StoreError
from oaml_core.inference.gallery.database import Gallery
from oaml_core.photos.faces import FaceFinder
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
