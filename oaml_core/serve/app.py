"""The service's routes, its errors, and who may ask for what."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, File, Query, Request, Response, Security, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.security import APIKeyHeader
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser

from oaml_core import __version__
from oaml_core.errors import DataError, ModelInputError, OamlError
from oaml_core.inference.gallery.database import Gallery
from oaml_core.serve.answers import (
    CompareAnswer,
    DeleteAnswer,
    DetectAnswer,
    EnrolAnswer,
    ErrorAnswer,
    GalleryFace,
    IdentifyAnswer,
    PersonAnswer,
)
from oaml_core.serve.faces import FaceService
from oaml_core.serve.keys import Keys
from oaml_core.serve.limits import Guard, Limits, ServiceFigures, Work

log = logging.getLogger("oaml.serve")
PAGE = Path(__file__).with_name("page")
KINDS = {"index.html": "text/html", "page.js": "text/javascript", "page.css": "text/css"}
CODES = {
    400: "bad_request",
    401: "no_key",
    403: "not_allowed",
    404: "not_found",
    405: "no_such_method",
    413: "too_large",
    422: "unusable",
    429: "too_often",
    503: "busy",
    504: "too_slow",
}
"""Names of errors by status, for programs."""
Photo = Annotated[UploadFile, File(description="photograph: JPEG, PNG, WebP, BMP, TIFF or GIF")]
Far = Annotated[float, Query(gt=0, le=1, description="false accept rate of one comparison to decide at")]
header = APIKeyHeader(name="X-API-Key", auto_error=False)


class Allowed:
    """Dependency of a route: a key whose role is enough, used not too often.

    Args:
        role: that is needed.
    """

    def __init__(self, role: str) -> None:
        self.role = role

    def __call__(self, request: Request, key: Annotated[str | None, Security(header)] = None) -> None:
        """Raise HTTPException 401, 403 or 429 unless the request may go on."""
        keys: Keys = request.app.state.keys
        found = keys.find(key or "")
        if found is None:
            raise HTTPException(401, "Send a valid key in the header X-API-Key.")
        request.state.key = found.name
        if not found.may(self.role):
            raise HTTPException(403, f"This key has the role {found.role}; {self.role} is needed.")
        if wait := keys.spend(found):
            raise HTTPException(429, "Too many requests with this key.", {"retry-after": str(int(wait) + 1)})


READ, ENROL, ADMIN = (Depends(Allowed(role)) for role in ("read", "enrol", "admin"))
ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorAnswer} for code in (400, 401, 403, 404, 413, 422, 429, 503, 504)
}
api = APIRouter(prefix="/api/v1", responses=ERRORS)
open_routes = APIRouter()


@api.post("/compare", dependencies=[READ])
async def compare(
    request: Request, first: Photo, second: Photo, far: Far = 1e-2, picture: bool = False
) -> CompareAnswer:
    """Compare the main faces of two photographs; `undecided` is an answer."""
    a, b = await first.read(), await second.read()
    return await _work(request).do(lambda: _faces(request).compare(a, b, far, picture))


@api.post("/detect", dependencies=[READ])
async def detect(request: Request, photo: Photo) -> DetectAnswer:
    """Find the faces of a photograph, and say what is covered."""
    data = await photo.read()
    return await _work(request).do(lambda: _faces(request).detect(data))


@api.post("/identify", dependencies=[READ])
async def identify(
    request: Request, photo: Photo, far: Far = 1e-2, top: Annotated[int, Query(ge=1, le=100)] = 5
) -> IdentifyAnswer:
    """Search the gallery for the main face of a photograph."""
    _gallery(request)
    data = await photo.read()
    return await _work(request).do(lambda: _faces(request).identify(data, far, top))


@api.get("/gallery/people", dependencies=[READ])
async def people(request: Request) -> list[PersonAnswer]:
    """List the people of the gallery."""
    gallery = _gallery(request)
    found = await _work(request).do(gallery.people)
    return [PersonAnswer(name=one.name, faces=one.faces) for one in found]


@api.get("/gallery/faces", dependencies=[READ])
async def faces(request: Request, person: str) -> list[GalleryFace]:
    """List the faces of one person."""
    gallery = _gallery(request)
    found = await _work(request).do(lambda: gallery.faces(person=person))
    if not found:
        raise HTTPException(404, "There is nobody of this name in the gallery.")
    return [GalleryFace(key=one.key, added=one.added, remark=one.remark, kept=one.kept) for one in found.values()]


@api.post("/gallery/faces", dependencies=[ENROL])
async def enrol(
    request: Request, photo: Photo, person: Annotated[str, Query(max_length=200)], keep_image: bool = False
) -> EnrolAnswer:
    """Add the main face of a photograph; no picture is stored unless `keep_image` asks for the aligned face."""
    _gallery(request)
    data = await photo.read()
    return EnrolAnswer(key=await _work(request).do(lambda: _faces(request).enrol(person, data, keep_image)))


@api.delete("/gallery/faces/{key}", dependencies=[ADMIN])
async def delete_face(request: Request, key: Annotated[int, "key"]) -> DeleteAnswer:
    """Delete one face for good."""
    gallery = _gallery(request)
    await _changed(request, lambda: gallery.remove_face(key))
    return DeleteAnswer(faces=1)


@api.delete("/gallery/people", dependencies=[ADMIN])
async def delete_person(request: Request, person: str) -> DeleteAnswer:
    """Delete a person with all faces for good."""
    gallery = _gallery(request)
    return DeleteAnswer(faces=await _changed(request, lambda: gallery.remove_person(person)) or 0)


@api.post("/gallery/merge", dependencies=[ADMIN])
async def merge(request: Request, person: str, into: str) -> DeleteAnswer:
    """Give all faces of a person to another one."""
    gallery = _gallery(request)
    return DeleteAnswer(faces=await _changed(request, lambda: gallery.merge(person, into)) or 0)


@open_routes.get("/health/live", tags=["health"])
@open_routes.get("/v2/health/live", tags=["health"])
async def live() -> dict[str, bool]:
    """Say that the process answers."""
    return {"live": True}


@open_routes.get("/health/ready", tags=["health"])
@open_routes.get("/v2/health/ready", tags=["health"])
async def ready(request: Request) -> Response:
    """Say whether the model is loaded and has passed its self-test: 200, else 503."""
    is_ready = bool(request.app.state.ready)
    return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)


@open_routes.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Return figures for Prometheus."""
    return Response(generate_latest(request.app.state.figures.registry), media_type=CONTENT_TYPE_LATEST)


@open_routes.get("/", include_in_schema=False)
async def page() -> Response:
    """Return the page."""
    return FileResponse(PAGE / "index.html", media_type="text/html")


@open_routes.get("/page/{name}", include_in_schema=False)
async def page_part(name: str) -> Response:
    """Return a part of the page."""
    if name not in KINDS:
        raise HTTPException(404, "The page has no such part.")
    return FileResponse(PAGE / name, media_type=KINDS[name])


def create_app(faces: FaceService, keys: Keys, limits: Limits) -> FastAPI:
    """Build the service.

    Args:
        faces: model, detector and gallery.
        keys: who may ask.
        limits: what a request may cost.
    """
    figures = ServiceFigures()
    work = Work(limits, figures)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await work.do(faces.self_test)
        app.state.ready = True
        yield
        app.state.ready = False
        work.close()

    app = FastAPI(title="OAML", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.ready = False
    app.state.faces, app.state.keys, app.state.work, app.state.figures = faces, keys, work, figures
    # Uploads stay in memory: the body's limit is below the size from which on they would go to a file.
    MultiPartParser.spool_max_size = max(MultiPartParser.spool_max_size, limits.body + 1)
    app.include_router(api)
    app.include_router(open_routes)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(OamlError, _unusable)
    app.add_exception_handler(Exception, _broken)
    app.add_middleware(Guard, limits=limits, figures=figures)
    return app


def _faces(request: Request) -> FaceService:
    found: FaceService = request.app.state.faces
    return found


def _work(request: Request) -> Work:
    found: Work = request.app.state.work
    return found


def _gallery(request: Request) -> Gallery:
    gallery = _faces(request).gallery
    if gallery is None:
        raise HTTPException(404, "This service has no gallery; start it with `oaml serve --gallery FILE`.")
    return gallery


async def _changed(request: Request, change: Any) -> int | None:
    """Make a change of what must be there: what is missing is 404."""
    try:
        found: int | None = await _work(request).do(change)
    except DataError as error:
        raise HTTPException(404, str(error)) from None
    return found


def _error(status: int, message: str, headers: Any = None) -> JSONResponse:
    body = {"error": {"code": CODES.get(status, "error"), "message": message}}
    return JSONResponse(body, status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, str(error.detail), error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return _error(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")


async def _unusable(request: Request, error: Exception) -> Response:
    return _error(422 if isinstance(error, (ModelInputError, DataError)) else 500, str(error))


async def _broken(request: Request, error: Exception) -> Response:
    return _error(500, "The service failed; its log has the reason.")
