"""The service put together: its routes, its errors, its beginning and its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.requests import ClientDisconnect

from oaml_core import __version__
from oaml_core.errors import DataError, GalleryLocked, GalleryMoved, ModelInputError, NotInGallery, OamlError
from oaml_core.serve.face_routes import api
from oaml_core.serve.faces import FaceService
from oaml_core.serve.gallery_routes import gallery_api
from oaml_core.serve.generations import Generations
from oaml_core.serve.inference_protocol import protocol
from oaml_core.serve.keys import Keys
from oaml_core.serve.limits import Guard, Limits, ServiceFigures, log
from oaml_core.serve.model_source import ModelSource
from oaml_core.serve.open_routes import open_routes
from oaml_core.serve.trial import TrialRules
from oaml_core.serve.work import Work

CODES = {
    400: "bad_request",
    401: "no_key",
    403: "not_allowed",
    404: "not_found",
    405: "no_such_method",
    413: "too_large",
    422: "unusable",
    429: "too_often",
    499: "cut_off",
    503: "busy",
    504: "too_slow",
}
"""Names of errors by status, for programs."""
PHRASES = {status: HTTPStatus(status).phrase for status in (404, 405)}
"""Messages of the framework for a route that is not there."""


def create_app(
    faces: FaceService,
    keys: Keys,
    limits: Limits,
    source: ModelSource | None = None,
    rules: TrialRules | None = None,
    look_every: float = 0.0,
    *,
    is_newest: bool = True,
) -> FastAPI:
    """Build the service as an ASGI application.

    Args:
        faces: model, detector and gallery.
        keys: who may ask.
        limits: what a request may cost.
        source: of new models, and of the one that a rebuilt gallery is of; None: there are none.
        rules: when a new model takes over.
        look_every: seconds between two looks for a new model; 0: a rebuilt gallery alone is followed.
        is_newest: the model of `faces` is the source's newest; False: that one is tried at the next look.
    """
    figures = ServiceFigures()
    work, models = Work(limits, figures), Generations(faces, source, rules, figures, is_newest=is_newest)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Not `faces`: this function would keep the first model for ever.
        await work.do(models.present.self_test)
        # Without the limit of requests: a million faces take longer.
        await asyncio.to_thread(models.present.prepare)
        with models.watched(look_every):
            app.state.ready = True
            yield
            app.state.ready = False
            work.close()

    app = FastAPI(title="OAML", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.ready = False
    app.state.models, app.state.keys, app.state.work, app.state.figures = models, keys, work, figures
    # Uploads stay in memory: the body's limit is below the size from which on they would go to a file.
    MultiPartParser.spool_max_size = max(MultiPartParser.spool_max_size, limits.body + 1)
    app.include_router(api)
    app.include_router(gallery_api)
    app.include_router(protocol)
    app.include_router(open_routes)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ClientDisconnect, _cut_off)
    app.add_exception_handler(OamlError, _unusable)
    app.add_exception_handler(Exception, _broken)
    app.add_middleware(Guard, limits=limits, figures=figures)
    return app


def _error(request: Request, status: int, message: str, headers: Any = None) -> JSONResponse:
    if request.url.path.startswith("/v2/"):
        return JSONResponse({"error": message}, status, headers)
    body = {"error": {"code": CODES.get(status, "error"), "message": message}}
    return JSONResponse(body, status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = str(error.detail)
    if message == PHRASES.get(error.status_code):
        message = f"There is no {request.method} {request.url.path[:100]}. `/openapi.json` lists what there is."
    return _error(request, error.status_code, message, error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return _error(request, 422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")


async def _unusable(request: Request, error: Exception) -> Response:
    assert isinstance(error, OamlError)
    if isinstance(error, (GalleryMoved, GalleryLocked)):
        return _error(request, 503, error.for_callers, {"retry-after": "30"})
    if isinstance(error, NotInGallery):
        return _error(request, 404, error.for_callers)
    if request.url.path.startswith("/v2/") and isinstance(error, ModelInputError):
        return _error(request, 400, error.for_callers)
    if isinstance(error, (ModelInputError, DataError)):
        return _error(request, 422, error.for_callers)
    # What else fails is the machine's own: its log has addresses and paths, the caller does not.
    log.error(json.dumps({"event": "request failed", "reason": f"{type(error).__name__}: {error}"}))
    return await _broken(request, error)


async def _cut_off(request: Request, error: Exception) -> Response:
    # Nobody reads it; the log and the figures have a caller's failure then, and not the service's.
    return _error(request, 499, "The request was cut off before its end. Send it again.")


async def _broken(request: Request, error: Exception) -> Response:
    return _error(request, 500, "The service failed; its log has the reason.")
