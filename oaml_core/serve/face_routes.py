"""The face API: compare, detect, identify; `gallery_routes` has the gallery."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from oaml_core.serve.access import KNOWN, READ, models, require_gallery, work
from oaml_core.serve.answers import CompareAnswer, DetectAnswer, ErrorAnswer, IdentifyAnswer
from oaml_core.serve.uploads import Photos

PAIR, PHOTO = Photos("first", "second"), Photos("photo")
Pair = Annotated[tuple[bytes, bytes], Depends(PAIR)]
Photo = Annotated[tuple[bytes], Depends(PHOTO)]
Far = Annotated[
    float, Query(gt=0, le=1, description="false accept rate of one comparison to decide at", examples=[0.001])
]
Top = Annotated[int, Query(ge=1, le=100, description="people named at most", examples=[3])]
Picture = Annotated[bool, Query(description="answer with a picture of both faces", examples=[True])]
ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorAnswer} for code in (400, 401, 403, 404, 413, 422, 429, 503, 504)
}
api = APIRouter(prefix="/api/v1", tags=["faces"], dependencies=[KNOWN], responses=ERRORS)


@api.post("/compare", dependencies=[READ], openapi_extra=PAIR.body)
async def compare(
    request: Request,
    pair: Pair,
    far: Far = 1e-2,
    picture: Picture = False,
) -> CompareAnswer:
    """Compare the main faces of two photographs; `undecided` is an answer."""
    return await work(request).do(lambda: models(request).decide(lambda faces: faces.compare(*pair, far, picture)))


@api.post("/detect", dependencies=[READ], openapi_extra=PHOTO.body)
async def detect(request: Request, photo: Photo) -> DetectAnswer:
    """Find the faces of a photograph, and say what is covered."""
    return await work(request).do(lambda: models(request).ask(lambda faces: faces.detect(*photo)))


@api.post("/identify", dependencies=[READ], openapi_extra=PHOTO.body)
async def identify(
    request: Request,
    photo: Photo,
    far: Far = 1e-2,
    top: Top = 5,
    picture: Annotated[
        bool, Query(description="answer with a picture, for a key of an administrator", examples=[True])
    ] = False,
) -> IdentifyAnswer:
    """Search the gallery for the main face of a photograph."""
    require_gallery(request)
    # Kept faces are for administrators alone, as by the route of their images.
    drawn = picture and request.state.is_admin
    return await work(request).do(
        lambda: models(request).ask(lambda faces: faces.identify(*photo, far, top, picture=drawn))
    )
