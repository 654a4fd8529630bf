"""Routes that need no key: health, figures for Prometheus, and the page."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

PAGE = Path(__file__).with_name("page")
KINDS = {
    "index.html": "text/html",
    "page.css": "text/css",
    **dict.fromkeys(("page.js", "people.js", "camera.js"), "text/javascript"),
}
open_routes = APIRouter()


@open_routes.get("/health/live", tags=["health"])
async def live() -> dict[str, bool]:
    """Say that the process answers."""
    return {"live": True}


@open_routes.get("/health/ready", tags=["health"])
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
    """Return the page for people."""
    return FileResponse(PAGE / "index.html", media_type="text/html")


@open_routes.get("/page/{name}", include_in_schema=False)
async def page_part(name: str) -> Response:
    """Return a part of the page."""
    if name not in KINDS:
        raise HTTPException(404, "The page has no such part.")
    return FileResponse(PAGE / name, media_type=KINDS[name])
