"""The Open Inference Protocol, version 2, by its published rules: metadata, inference, binary data and errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from plain_model import PlainModel
from service_client import KEYS

from oaml_core.inference.onnx_model import OamlOnnx
from oaml_core.photos.faces import FaceFinder
from oaml_core.serve.app import create_app
from oaml_core.serve.faces import FaceService
from oaml_core.serve.keys import Keys, key_digest
from oaml_core.serve.limits import Limits

FACES = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3)).astype(np.uint8)
HEADER = "inference-header-content-length"


@pytest.fixture(scope="module")
def model(exported: Path) -> OamlOnnx:
    return OamlOnnx(exported)


def started(model: Any, limits: Limits) -> TestClient:
    faces = FaceService(model, FaceFinder(aligned=True), None, pixels=10**6, most=3)
    app = create_app(faces, Keys({key_digest(key): role for key, role in KEYS.items()}, 10**6), limits)
    return TestClient(app, headers={"X-API-Key": "r"}, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client(model: OamlOnnx) -> Iterator[TestClient]:
    with started(model, Limits(body=3_000_000)) as running:
        yield running


def face_input(model: OamlOnnx, **other: Any) -> dict[str, Any]:
    (tensor,) = model.input_tensors
    return {"name": tensor.name, "datatype": "UINT8", "shape": [2, 112, 112, 3], "data": FACES.tolist(), **other}


def infer(client: TestClient, asked: Any, path: str = "/v2/models/oaml/infer") -> Any:
    return client.post(path, content=json.dumps(asked))


def test_server_and_model_describe_themselves(client: TestClient, model: OamlOnnx) -> None:
    assert client.get("/v2").json().keys() == {"name", "version", "extensions"}
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/oaml/ready").json() == {"name": "oaml", "ready": True}
    about = client.get("/v2/models/oaml").json()
    assert about == client.get(f"/v2/models/oaml/versions/{model.version}").json()
    assert about["versions"] == [model.version]
    assert about["inputs"] == [{"name": model.input_tensors[0].name, "datatype": "UINT8", "shape": [-1, 112, 112, 3]}]
    kinds = {one["name"]: (one["datatype"], one["shape"][0]) for one in about["outputs"]}
    assert kinds.keys() >= {"embedding", "norm", "visibility", "local_features"}
    assert set(kinds.values()) == {("FP32", -1)}


@pytest.mark.parametrize("flat", [False, True])
def test_tensors_come_back_as_the_model_gives_them(client: TestClient, model: OamlOnnx, flat: bool) -> None:
    data = FACES.ravel().tolist() if flat else FACES.tolist()
    answer = infer(client, {"id": "7 a", "inputs": [face_input(model, data=data)]}).json()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("7 a", "oaml", model.version)
    found = {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in answer["outputs"]}
    expected = model.embed(FACES)
    assert list(found) == [tensor.name for tensor in model.output_tensors]
    for name, value in found.items():
        assert np.allclose(value, getattr(expected, name), atol=1e-5), name


def test_outputs_are_those_asked_for_in_their_order(client: TestClient, model: OamlOnnx) -> None:
    asked = {"inputs": [face_input(model)], "outputs": [{"name": "visibility"}, {"name": "embedding"}]}
    answer = infer(client, asked, f"/v2/models/oaml/versions/{model.version}/infer").json()
    assert [one["name"] for one in answer["outputs"]] == ["visibility", "embedding"]
    assert "id" not in answer


def test_binary_data_goes_in_and_comes_back(client: TestClient, model: OamlOnnx) -> None:
    given = {**face_input(model), "parameters": {"binary_data_size": FACES.nbytes}}
    del given["data"]
    wanted = [{"name": "norm"}, {"name": "embedding", "parameters": {"binary_data": True}}]
    text = json.dumps({"inputs": [given], "outputs": wanted}).encode()
    answer = client.post("/v2/models/oaml/infer", content=text + FACES.tobytes(), headers={HEADER: str(len(text))})
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers[HEADER])
    norm, embedding = json.loads(answer.content[:length])["outputs"]
    raw = answer.content[length:]
    assert embedding["parameters"] == {"binary_data_size": len(raw)}
    assert "data" in norm
    assert "data" not in embedding
    expected = model.embed(FACES)
    assert np.allclose(np.frombuffer(raw, "<f4").reshape(embedding["shape"]), expected.embedding, atol=1e-5)
    everything = {"inputs": [face_input(model)], "parameters": {"binary_data_output": True}}
    described = infer(client, everything)
    sizes = [
        one["parameters"]["binary_data_size"]
        for one in json.loads(described.content[: int(described.headers[HEADER])])["outputs"]
    ]
    assert len(described.content) == int(described.headers[HEADER]) + sum(sizes)


WRONG: list[tuple[Any, str]] = [
    ("{", "not JSON"),
    ("[]", "no JSON object"),
    ("[" * 100_000, "nested"),
    (b"\xff\xfe", "not JSON"),
    ({}, "lacks inputs"),
    ({"inputs": {}}, "no list"),
    ({"inputs": []}, "takes"),
    ({"inputs": [{"name": "other"}]}, "takes"),
    ({"id": 7}, "`id`"),
    ({"input": {"datatype": "FP32"}}, "UINT8"),
    ({"input": {"datatype": None}}, "UINT8"),
    ({"input": {"shape": [2, 112, 112]}}, "shape"),
    ({"input": {"shape": [2, 3, 112, 112]}}, "shape"),
    ({"input": {"shape": [0, 112, 112, 3]}}, "shape"),
    ({"input": {"shape": [-1, 112, 112, 3]}}, "shape"),
    ({"input": {"shape": [True, 112, 112, 3]}}, "shape"),
    ({"input": {"shape": [10**12, 112, 112, 3]}}, "shape"),
    ({"input": {"data": [1, 2]}}, "flat"),
    ({"input": {"data": [[1], [2, 3]]}}, "differ in length"),
    ({"input": {"data": "AAAA"}}, "no list"),
    ({"input": {"data": [0.5] * FACES.size}}, "other values"),
    ({"input": {"data": [None] * FACES.size}}, "other values"),
    ({"input": {"data": [256] * FACES.size}}, "beyond"),
    ({"input": {"data": [-1] * FACES.size}}, "beyond"),
    ({"input": {"data": [10**30] + [0] * (FACES.size - 1)}}, "other values"),
    ({"input": {"parameters": {"binary_data_size": 8}}}, "binary"),
    ({"input": {"parameters": []}}, "`parameters`"),
    ({"outputs": [{"name": "logits"}]}, "gives"),
    ({"outputs": [{"name": "norm"}, {"name": "norm"}]}, "once"),
    ({"outputs": ["norm"]}, "objects"),
    ({"parameters": {"binary_data_output": "yes"}}, "neither true nor false"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG, ids=[str(one[0])[:30] + one[1] for one in WRONG])
def test_what_breaks_the_protocol_is_named_in_its_form(
    client: TestClient, model: OamlOnnx, wrong: Any, message: str
) -> None:
    if isinstance(wrong, dict) and wrong.keys() & {"id", "input", "outputs", "parameters"}:
        wrong = {**wrong, "inputs": [face_input(model, **wrong.pop("input", {}))]}
    body = json.dumps(wrong) if isinstance(wrong, dict) else wrong
    answer = client.post("/v2/models/oaml/infer", content=body)
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]


@pytest.mark.parametrize("length", ["-1", "x", "", "99999999", "１"])
def test_a_header_that_does_not_fit_is_refused(client: TestClient, length: str) -> None:
    answer = client.post("/v2/models/oaml/infer", content=b"{}", headers={HEADER: length.encode()})
    assert answer.status_code == 400
    assert "Content-Length" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("GET", "/v2/models/oaml/versions/1/ready", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/models/oaml/versions/1/infer", 404),
        ("GET", "/v2/models/oaml/infer", 405),
        ("GET", "/v2/nowhere", 404),
    ],
)
def test_what_is_not_there_is_told_in_the_protocol_s_form(
    client: TestClient, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert isinstance(answer.json()["error"], str)


def test_keys_and_limits_hold_for_tensors_too(client: TestClient) -> None:
    without = client.post("/v2/models/oaml/infer", content=b"{}", headers={"X-API-Key": "wrong"})
    large = client.post("/v2/models/oaml/infer", content=bytes(3_000_001))
    assert (without.status_code, large.status_code) == (401, 413)
    assert all(isinstance(one.json()["error"], str) for one in (without, large))


def test_more_faces_than_a_pass_takes_come_back_whole(client: TestClient, model: OamlOnnx) -> None:
    many = np.concatenate([FACES] * 20)
    given = {"name": model.input_tensors[0].name, "datatype": "UINT8", "shape": list(many.shape)}
    given["parameters"] = {"binary_data_size": many.nbytes}
    text = json.dumps({"inputs": [given], "outputs": [{"name": "embedding"}]}).encode()
    answer = client.post("/v2/models/oaml/infer", content=text + many.tobytes(), headers={HEADER: str(len(text))})
    (found,) = answer.json()["outputs"]
    assert found["shape"][0] == 40
    expected = np.concatenate([model.embed(FACES).embedding] * 20)
    assert np.allclose(np.array(found["data"]).reshape(found["shape"]), expected, atol=1e-5)


def test_a_model_without_tensors_is_not_there() -> None:
    with started(PlainModel(), Limits()) as client:
        assert client.get("/v2/models/oaml").status_code == 404
        assert client.get("/v2/health/ready").status_code == 200
