"""The description of the API: what the page in docs and `/openapi.json` say is what the service does."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from plain_model import face_of
from pydantic import TypeAdapter
from service_client import KEYS, compare, enrol, png

from oaml_core.serve import answers
from oaml_core.serve.keys import ROLES

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
KEY_OF = {role: key for key, role in KEYS.items()}


@pytest.fixture
def described(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def operations(described: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return operations of the face API by method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
        if path.startswith("/api/")
    }


def rows() -> dict[str, str]:
    """Return the role per request of the page's table."""
    table = re.findall(r"^\| `((?:GET|POST|PUT|DELETE) /api/[^`?]+)[^|]*\| (\w+) \|", PAGE.read_text(), re.MULTILINE)
    return dict(table)


def test_the_page_names_every_request_with_the_role_that_it_takes(
    client: TestClient, described: dict[str, Any]
) -> None:
    table = rows()
    assert set(table) == set(operations(described))
    for request, role in table.items():
        method, path = request.replace("{key}", "1").split()
        for having in ROLES:
            answer = client.request(method, path, headers={"X-API-Key": KEY_OF[having]})
            may = ROLES.index(having) >= ROLES.index(role)
            assert (answer.status_code == 403) != may, f"{request} with {having}"
        assert client.request(method, path, headers={"X-API-Key": ""}).status_code == 401


def example(schema: dict[str, Any], described: dict[str, Any]) -> Any:
    """Return an example put together from those of a schema; KeyError where one is missing."""
    if "$ref" in schema:
        return example(described["components"]["schemas"][schema["$ref"].split("/")[-1]], described)
    if "examples" in schema:
        return schema["examples"][0]
    if "anyOf" in schema:
        return example(schema["anyOf"][0], described)
    if schema.get("type") == "array":
        return [example(schema["items"], described)]
    return {name: example(one, described) for name, one in schema["properties"].items()}


def test_every_request_and_every_answer_has_an_example(described: dict[str, Any]) -> None:
    for request, operation in operations(described).items():
        for parameter in operation.get("parameters", ()):
            assert parameter["schema"].get("examples") or parameter.get("examples"), (request, parameter["name"])
        body = operation.get("requestBody", {}).get("content", {})
        if body:
            assert all(
                base64.b64decode(text) for text in example(body["application/json"]["schema"], described).values()
            )
            assert body["multipart/form-data"]["schema"]["required"]
        statuses = operation["responses"]
        assert {"401", "403", "413", "422", "429", "503", "504"} <= set(statuses)
        for status, answer in statuses.items():
            kinds = answer["content"]
            if "application/json" not in kinds:
                assert (status, set(kinds)) == ("200", {"image/png"})
                continue
            schema = kinds["application/json"]["schema"]
            named = schema["items"]["$ref"] if schema.get("type") == "array" else schema["$ref"]
            model: Any = getattr(answers, named.split("/")[-1])
            shown = example(schema, described)
            TypeAdapter(list[model] if isinstance(shown, list) else model).validate_python(shown)


def test_a_photograph_in_base64_is_as_good_as_a_file(client: TestClient) -> None:
    first, second = png(face_of(1)), png(face_of(1, 1))
    text = {
        "first": base64.b64encode(first).decode(),
        "second": "data:image/png;base64," + base64.encodebytes(second).decode(),
    }
    assert client.post("/api/v1/compare", json=text).json() == compare(client, first, second).json()
    there = enrol(client, "Ann", first).json()["key"]
    photo = {"photo": text["first"]}
    again = client.post("/api/v1/gallery/faces", params={"person": "Ann"}, json=photo)
    assert again.json() == {"key": there, "added": False}


WORD = b'--x\r\nContent-Disposition: form-data; name="photo"\r\n\r\na.jpg\r\n--x--\r\n'


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b'{"photo": "http://127.0.0.1/a.jpg"}', "application/json", "is no base64. Addresses"),
        (b'{"photo": 1}', "application/json", "photo is int"),
        (b'{"foto": "AAAA"}', "application/json; charset=utf-8", "it lacks photo. Send `photo` in base64"),
        (b'["AAAA"]', "application/json", "no JSON object"),
        (b"[" * 100_000, "application/json", "too deeply"),
        (b"\xff", "application/json", "not JSON"),
        (b"AAAA", "image/png", "multipart/form-data"),
        (WORD, "multipart/form-data; boundary=x", "no file"),
    ],
)
def test_a_body_without_a_photograph_is_refused(client: TestClient, body: bytes, kind: str, message: str) -> None:
    answer = client.post("/api/v1/detect", content=body, headers={"content-type": kind})
    assert answer.status_code == 422, answer.text
    assert message in answer.json()["error"]["message"]
