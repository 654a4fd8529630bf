"""The gallery over HTTP: people and their faces listed, enrolled, moved and deleted.

A change is told in the log by its route, the face's number and how many faces it was about: no names, no pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.exceptions import HTTPException

from oaml_core.inference.gallery.database import EnrolledFace, Gallery
from oaml_core.serve.access import ADMIN, ENROL, KNOWN, READ, gallery_of, models, note, require_gallery, work
from oaml_core.serve.answers import EnrolAnswer, FacesAnswer, GalleryFace, PersonAnswer, QualityAnswer
from oaml_core.serve.face_routes import ERRORS, PHOTO, Photo
from oaml_core.serve.faces import FaceService

T = TypeVar("T")
FaceKey = Annotated[int, Path(ge=1, lt=2**63, description="number of the face", examples=[17])]
FaceKeys = Annotated[
    list[Annotated[int, Query(ge=1, lt=2**63)]],
    Query(alias="key", min_length=1, max_length=1000, description="numbers of the faces that go", examples=[[17, 18]]),
]
Name = Annotated[str, Query(max_length=200, description="name of a person", examples=["Ann Other"])]
Kept = Annotated[bool, Query(description="keep the aligned face in the gallery", examples=[True])]
gallery_api = APIRouter(prefix="/api/v1/gallery", tags=["gallery"], dependencies=[KNOWN], responses=ERRORS)


@gallery_api.get("/people", dependencies=[READ])
async def people(
    request: Request,
    part: Annotated[
        str,
        Query(
            max_length=200,
            description="people whose name holds this; accents and capitals do not count",
            examples=["ann"],
        ),
    ] = "",
    most: Annotated[int | None, Query(ge=1, le=10**6, description="people listed; default: all", examples=[50])] = None,
) -> list[PersonAnswer]:
    """List the people of the gallery by name."""
    require_gallery(request)
    found = await work(request).do(lambda: models(request).ask(lambda faces: gallery_of(faces).people(part)))
    return [PersonAnswer(name=one.name, faces=one.faces) for one in found[:most]]


@gallery_api.delete("/people", dependencies=[ADMIN])
async def delete_person(request: Request, person: Name) -> FacesAnswer:
    """Delete a person with all faces for good."""
    return await _changed_people(request, lambda gallery: gallery.remove_person(person))


@gallery_api.post("/rename", dependencies=[ADMIN])
async def rename(request: Request, person: Name, to: Name) -> FacesAnswer:
    """Give a person a name that nobody else has."""
    return await _changed_people(request, lambda gallery: gallery.rename(person, to))


@gallery_api.post("/merge", dependencies=[ADMIN])
async def merge(request: Request, person: Name, into: Name) -> FacesAnswer:
    """Give all faces of a person to another one, and delete the first name."""
    return await _changed_people(request, lambda gallery: gallery.merge(person, into))


@gallery_api.post("/split", dependencies=[ADMIN])
async def split(request: Request, person: Name, to: Name, keys: FaceKeys) -> FacesAnswer:
    """Give some faces of a person to a new person, whose name nobody else has."""
    return await _changed_people(request, lambda gallery: gallery.split(person, keys, to))


@gallery_api.get("/faces", dependencies=[READ])
async def faces(request: Request, person: Name) -> list[GalleryFace]:
    """List the faces of one person."""
    require_gallery(request)
    found = await work(request).do(lambda: models(request).ask(lambda faces: gallery_of(faces).faces(person=person)))
    if not found:
        raise HTTPException(404, "There is nobody of this name in the gallery.")
    return [_shown(one) for one in found.values()]


@gallery_api.post("/faces", dependencies=[ENROL], openapi_extra=PHOTO.body)
async def enrol(request: Request, photo: Photo, person: Name, keep_image: Kept = False) -> EnrolAnswer:
    """Add the main face of a photograph; no picture is stored unless `keep_image` asks for the aligned face."""
    require_gallery(request)
    answer = await _changed(request, lambda faces: faces.enrol(person, *photo, keep_image))
    note(request, face=answer.key, faces=int(answer.added))
    return answer


@gallery_api.put("/faces/{key}", dependencies=[ADMIN], openapi_extra=PHOTO.body)
async def replace_face(request: Request, key: FaceKey, photo: Photo, keep_image: Kept = False) -> EnrolAnswer:
    """Put the main face of another photograph of the same person in place of a face; it gets a number of its own."""
    require_gallery(request)
    answer = await _changed(request, lambda faces: faces.replace(key, *photo, keep_image))
    note(request, face=answer.key, replaced=key, faces=1)
    return answer


@gallery_api.delete("/faces/{key}", dependencies=[ADMIN])
async def delete_face(request: Request, key: FaceKey) -> FacesAnswer:
    """Delete one face for good."""
    return await _changed_face(request, key, lambda gallery: gallery.remove_face(key))


@gallery_api.post("/faces/{key}/move", dependencies=[ADMIN])
async def move_face(request: Request, key: FaceKey, person: Name) -> FacesAnswer:
    """Give one face to another person, who is made if new."""
    return await _changed_face(request, key, lambda gallery: gallery.move_face(key, person))


PNG = {"image/png": {"schema": {"type": "string", "format": "binary"}}}


@gallery_api.get(
    "/faces/{key}/image",
    dependencies=[ADMIN],
    response_class=Response,
    responses={200: {"description": "The aligned face", "content": PNG}},
)
async def image(request: Request, key: FaceKey) -> Response:
    """Return the aligned face, if it was kept, as a PNG picture."""
    require_gallery(request)
    found = await work(request).do(lambda: models(request).ask(lambda faces: gallery_of(faces).image(key)))
    note(request, face=key)
    if found is None:
        raise HTTPException(404, "There is no such face, or its image was not kept.")
    return Response(found, media_type="image/png")


def _shown(face: EnrolledFace) -> GalleryFace:
    found = face.detected
    quality = None if found is None or found.quality is None else QualityAnswer(**asdict(found.quality))
    return GalleryFace(
        key=face.key,
        added=face.added,
        remark=face.remark,
        kept=face.kept,
        score=None if found is None else found.score,
        box=None if found is None else found.box,
        quality=quality,
    )


async def _changed(request: Request, change: Callable[[FaceService], T]) -> T:
    """Make a change of the gallery, unless the request is too late by then."""
    return await work(request).change(lambda turn: models(request).change(change, turn.commit))


async def _changed_people(request: Request, change: Callable[[Gallery], int]) -> FacesAnswer:
    """Make a change of the gallery alone that returns how many faces it was about."""
    require_gallery(request)
    count = await _changed(request, lambda faces: change(gallery_of(faces)))
    note(request, faces=count)
    return FacesAnswer(faces=count)


async def _changed_face(request: Request, key: int, change: Callable[[Gallery], None]) -> FacesAnswer:
    """Make a change of the gallery that is about one face."""
    note(request, face=key)
    require_gallery(request)
    await _changed(request, lambda faces: change(gallery_of(faces)))
    note(request, face=key, faces=1)
    return FacesAnswer(faces=1)
