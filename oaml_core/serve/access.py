"""What routes need of a request: a key whose role is enough, the models, the threads, and the gallery."""

from __future__ import annotations

from typing import Annotated, get_origin

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader
from starlette.exceptions import HTTPException

from oaml_core.errors import nearest
from oaml_core.inference.gallery.database import Gallery
from oaml_core.serve.faces import FaceService
from oaml_core.serve.generations import Generations
from oaml_core.serve.keys import Keys
from oaml_core.serve.work import Work

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
        request.state.key, request.state.is_admin = found.name, found.may("admin")
        if not found.may(self.role):
            raise HTTPException(403, f"This key has the role {found.role}; {self.role} is needed.")
        if wait := keys.spend(found):
            raise HTTPException(429, "Too many requests with this key.", {"retry-after": str(int(wait) + 1)})


READ, ENROL, ADMIN = (Depends(Allowed(role)) for role in ("read", "enrol", "admin"))
"""Dependencies of routes."""


def only_known_options(request: Request) -> None:
    """Raise HTTPException 422 for an option that the route does not know, or takes once: a slip would pass unseen."""
    options = request.scope["route"].dependant.query_params
    known = [option.alias for option in options]
    once = {option.alias for option in options if get_origin(option.field_info.annotation) is not list}
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name in once and given.count(name) > 1:
            raise HTTPException(422, f"The option {name!r} is there more than once. Give it once.")
        if name not in known:
            hint = nearest(name, known) or (f" There are {', '.join(known)}." if known else "")
            raise HTTPException(422, f"There is no option {name[:50]!r} here.{hint}")


KNOWN = Depends(only_known_options)
"""Dependency of routers whose routes name all their options."""


def models(request: Request) -> Generations:
    """Return the models of the service."""
    found: Generations = request.app.state.models
    return found


def work(request: Request) -> Work:
    """Return the threads of the service."""
    found: Work = request.app.state.work
    return found


def note(request: Request, **numbers: int) -> None:
    """Add numbers to the request's line in the log: keys of faces and how many there were, never a name."""
    request.state.noted = numbers


def require_gallery(request: Request) -> None:
    """Raise HTTPException 404 if the service has no gallery."""
    gallery_of(models(request).present)


def gallery_of(faces: FaceService) -> Gallery:
    """Return the gallery of a service, or raise HTTPException 404."""
    if faces.gallery is None:
        raise HTTPException(404, "This service has no gallery.")
    return faces.gallery
