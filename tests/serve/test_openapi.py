"""The service against its own OpenAPI description: requests made from that, and answers held to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from plain_model import PlainModel, face_of

from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.rebuild import encode_face
from oaml_core.photos.faces import FaceFinder
from oaml_core.serve.app import create_app
from oaml_core.serve.faces import FaceService
from oaml_core.serve.keys import Keys, key_digest
from oaml_core.serve.limits import Limits

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed; see the extra dev")
pytestmark = pytest.mark.filterwarnings("ignore")
EXAMPLES = 4
"""Per operation; more find more, and take longer."""


@pytest.fixture
def schema(tmp_path: Path) -> Any:
    model = PlainModel(thresholds={1e-2: -10.0})
    gallery = Gallery(tmp_path / "people.gallery", model.version)
    for person in range(3):
        face = face_of(person)
        gallery.add(f"p{person}", model.records(face[None]), source="", digest=str(person), image=encode_face(face))
    faces = FaceService(model, FaceFinder(aligned=True), gallery, pixels=10**6, most=3)
    app = create_app(faces, Keys({key_digest("k"): "admin"}, 10**6), Limits(seconds=60, waiting=100))
    app.state.ready = True
    yield schemathesis.openapi.from_asgi("/openapi.json", app)
    app.state.work.close()
    gallery.close()


def test_every_answer_is_one_that_the_description_states(schema: Any) -> None:
    # A photograph is bytes to the description: most bytes are none, and are refused.
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    named = []
    for result in schema.get_all_operations():
        operation = result.ok()
        named.append(f"{operation.method.upper()} {operation.path}")

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            case.call_and_validate(headers={"X-API-Key": "k"}, excluded_checks=[positive_data_acceptance])

        ask()
    assert "POST /api/v1/compare" in named
    assert "POST /v2/models/{name}/infer" in named
