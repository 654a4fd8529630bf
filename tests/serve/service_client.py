"""A service in this process, and requests to it, for the tests of the service."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image
from plain_model import PlainModel

from oaml_core.inference.gallery.database import Gallery
from oaml_core.photos.faces import FaceFinder
from oaml_core.serve.app import create_app
from oaml_core.serve.faces import FaceService
from oaml_core.serve.keys import Keys, key_digest
from oaml_core.serve.limits import Limits

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


def compare(client: TestClient, first: bytes, second: bytes, **query: Any) -> Any:
    return client.post("/api/v1/compare", params=query, files={"first": first, "second": second})


def enrol(client: TestClient, person: str, photo: bytes, **query: Any) -> Any:
    return client.post("/api/v1/gallery/faces", params={"person": person, **query}, files={"photo": photo})
