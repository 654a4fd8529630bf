"""The face API: compare, detect, identify, and the gallery."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, File, Path, Query, Request, Response, UploadFile
from starlette.exceptions import HTTPException

from oaml_core.inference.gallery.database import Gallery
from oaml_core.serve.access import ADMIN, ENROL, READ, gallery_of, models, require_gallery, work
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

T = TypeVar("T")
Photo = Annotated[UploadFile, File(description="photograph: JPEG, PNG, WebP, BMP, TIFF or GIF")]
Far = Annotated[float, Query(gt=0, le=1, description="false accept rate of one comparison to decide at")]
ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorAnswer} for code in (400, 401, 403, 404, 413, 422, 429, 503, 504)
}
FaceKey = Annotated[int, Path(ge=1, lt=2**63, description="number of the face")]
Name = Annotated[str, Query(max_length=200, description="name of a person")]
api = APIRouter(prefix="/api/v1", responses=ERRORS)


@api.post("/compare", dependencies=[READ])
async def compare(
    request: Request, first: Photo, second: Photo, far: Far = 1e-2, picture: bool = False
) -> CompareAnswer:
    """Compare the main faces of two photographs; `undecided` is an answer."""
    a, b = await first.read(), await second.read()
    return await work(request).do(lambda: models(request).decide(lambda faces: faces.compare(a, b, far, picture)))


@api.post("/detect", dependencies=[READ])
async def detect(request: Request, photo: Photo) -> DetectAnswer:
    """Find the faces of a photograph, and say what is covered."""
    data = await photo.read()
    return await work(request).do(lambda: models(request).ask(lambda faces: faces.detect(data)))


@api.post("/identify", dependencies=[READ])
async def identify(
    request: Request, photo: Photo, far: Far = 1e-2, top: Annotated[int, Query(ge=1, le=100)] = 5
) -> IdentifyAnswer:
    """Search the gallery for the main face of a photograph."""
    require_gallery(request)
    data = await photo.read()
    return await work(request).do(lambda: models(request).ask(lambda faces: faces.identify(data, far, top)))


@api.get("/gallery/people", dependencies=[READ])
async def people(
    request: Request,
    part: Annotated[
        str, Query(max_length=200, description="people whose name holds this, small letters or capitals")
    ] = "",
    most: Annotated[int | None, Query(ge=1, le=10**6, description="people listed; default: all")] = None,
) -> list[PersonAnswer]:
    """List the people of the gallery by name."""
    require_gallery(request)
    found = await work(request).do(lambda: models(request).ask(lambda faces: gallery_of(faces).people()))
    wanted = [one for one in found if part.casefold() in one.name.casefold()]
    return [PersonAnswer(name=one.name, faces=one.faces) for one in wanted[:most]]


@api.get("/gallery/faces", dependencies=[READ])
async def faces(request: Request, person: Name) -> list[GalleryFace]:
    """List the faces of one person."""
    require_gallery(request)
    found = await work(request).do(lambda: models(request).ask(lambda faces: gallery_of(faces).faces(person=person)))
    if not found:
        raise HTTPException(404, "There is nobody of this name in the gallery.")
    return [GalleryFace(key=one.key, added=one.added, remark=one.remark, kept=one.kept) for one in found.values()]


@api.get("/gallery/faces/{key}/image", dependencies=[ADMIN], response_class=Response)
async def image(request: Request, key: FaceKey) -> Response:
    """Return the aligned face, if it was kept, as a PNG picture."""
    require_gallery(request)
    found = await work(request).do(lambda: models(request).ask(lambda faces: gallery_of(faces).image(key)))
    if found is None:
        raise HTTPException(404, "There is no such face, or its image was not kept.")
    return Response(found, media_type="image/png")


@api.post("/gallery/faces", dependencies=[ENROL])
async def enrol(request: Request, photo: Photo, person: Name, keep_image: bool = False) -> EnrolAnswer:
    """Add the main face of a photograph; no picture is stored unless `keep_image` asks for the aligned face."""
    require_gallery(request)
    data = await photo.read()
    return await _changed(request, lambda faces: faces.enrol(person, data, keep_image))


@api.delete("/gallery/faces/{key}", dependencies=[ADMIN])
async def delete_face(request: Request, key: FaceKey) -> DeleteAnswer:
    """Delete one face for good."""
    await _changed_gallery(request, lambda gallery: gallery.remove_face(key))
    return DeleteAnswer(faces=1)


@api.delete("/gallery/people", dependencies=[ADMIN])
async def delete_person(request: Request, person: Name) -> DeleteAnswer:
    """Delete a person with all faces for good."""
    return DeleteAnswer(faces=await _changed_gallery(request, lambda gallery: gallery.remove_person(person)))


@api.post("/gallery/merge", dependencies=[ADMIN])
async def merge(request: Request, person: Name, into: Name) -> DeleteAnswer:
    """Give all faces of a person to another one."""
    return DeleteAnswer(faces=await _changed_gallery(request, lambda gallery: gallery.merge(person, into)))


@api.post("/gallery/rename", dependencies=[ADMIN])
async def rename(request: Request, person: Name, to: Name) -> DeleteAnswer:
    """Give a person a name that nobody else has."""
    return DeleteAnswer(faces=await _changed_gallery(request, lambda gallery: gallery.rename(person, to)))


@api.post("/gallery/faces/{key}/move", dependencies=[ADMIN])
async def move_face(request: Request, key: FaceKey, person: Name) -> DeleteAnswer:
    """Give one face to another person, who is made if new."""
    await _changed_gallery(request, lambda gallery: gallery.move_face(key, person))
    return DeleteAnswer(faces=1)


async def _changed(request: Request, change: Callable[[FaceService], T]) -> T:
    """Make a change of the gallery, unless the request is too late by then."""
    return await work(request).change(lambda turn: models(request).change(change, turn.commit))


async def _changed_gallery(request: Request, change: Callable[[Gallery], int | None]) -> int:
    """Make a change of the gallery alone, without a photograph."""
    require_gallery(request)
    return await _changed(request, lambda faces: change(gallery_of(faces))) or 0
