"""The model itself by the Open Inference Protocol, version 2: tensors in, tensors out, as KServe and Triton speak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from oaml_core import __version__
from oaml_core.inference.backends import Feeds, Tensor
from oaml_core.serve.access import READ, models, work
from oaml_core.serve.answers import ProtocolError
from oaml_core.serve.faces import FaceService
from oaml_core.serve.tensors import Array, describe_tensor, read_request, write_answer

NAME = "oaml"
"""Name of the model, whichever version answers."""
HEADER = "inference-header-content-length"
BINARY = "application/octet-stream"
ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": ProtocolError} for code in (400, 401, 403, 404, 413, 422, 429, 503, 504)
}
protocol = APIRouter(prefix="/v2", tags=["open inference protocol"], responses=ERRORS)


@runtime_checkable
class TensorModel(Protocol):
    """A model whose graph can be run as it is: `OamlOnnx`."""

    version: str
    input_tensors: Sequence[Tensor]
    output_tensors: Sequence[Tensor]

    def infer(self, feeds: Feeds, outputs: Sequence[str]) -> list[Array]: ...


@protocol.get("")
async def server() -> dict[str, Any]:
    """Name the server and the protocol's extensions that it knows."""
    return {"name": "oaml", "version": __version__, "extensions": ["binary_tensor_data"]}


@protocol.get("/health/live")
async def live() -> dict[str, bool]:
    """Say that the process answers."""
    return {"live": True}


@protocol.get("/health/ready")
async def ready(request: Request) -> Response:
    """Say whether the model is loaded and has passed its self-test: 200, else 503."""
    is_ready = bool(request.app.state.ready)
    return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)


@protocol.get("/models/{name}")
@protocol.get("/models/{name}/versions/{version}")
async def model(request: Request, name: str, version: str = "") -> dict[str, Any]:
    """Describe the model's inputs and outputs."""
    found = _tensor_model(models(request).present, name, version)
    return {
        "name": NAME,
        "versions": [found.version],
        "platform": "onnx_onnxv1",
        "inputs": [describe_tensor(one) for one in found.input_tensors],
        "outputs": [describe_tensor(one) for one in found.output_tensors],
    }


@protocol.get("/models/{name}/ready")
@protocol.get("/models/{name}/versions/{version}/ready")
async def model_ready(request: Request, name: str, version: str = "") -> Response:
    """Say whether the model is ready: 200, else 503."""
    _tensor_model(models(request).present, name, version)
    is_ready = bool(request.app.state.ready)
    return JSONResponse({"name": NAME, "ready": is_ready}, 200 if is_ready else 503)


@protocol.post("/models/{name}/infer", dependencies=[READ])
@protocol.post("/models/{name}/versions/{version}/infer", dependencies=[READ])
async def infer(request: Request, name: str, version: str = "") -> Response:
    """Run the model on tensors of aligned faces; in JSON, or with binary data behind the JSON."""
    _tensor_model(models(request).present, name, version)
    body, length = await request.body(), request.headers.get(HEADER)

    def run(faces: FaceService) -> tuple[bytes, int]:
        # Looked up again: another version may have come into production meanwhile.
        found = _tensor_model(faces, name, version)
        asked = read_request(body, length, found.input_tensors, found.output_tensors)
        outputs = dict(zip(asked.outputs, faces.shared.infer(asked.feeds, asked.outputs), strict=True))
        return write_answer(asked, outputs, {"model_name": NAME, "model_version": found.version})

    answer, json_bytes = await work(request).do(lambda: models(request).ask(run))
    if json_bytes:
        return Response(answer, media_type=BINARY, headers={HEADER: str(json_bytes)})
    return Response(answer, media_type="application/json")


def _tensor_model(faces: FaceService, name: str, version: str) -> TensorModel:
    """Return the model of this name, or raise HTTPException 404."""
    found = faces.model
    if name != NAME or not isinstance(found, TensorModel):
        raise HTTPException(404, f"There is no model {name[:50]!r}; this service has {NAME!r}.")
    if version not in ("", found.version):
        raise HTTPException(404, f"There is no version {version[:50]!r} of {NAME}; {found.version!r} answers.")
    return found
