"""Photographs of a request: files of a form, or base64 in JSON. Addresses of pictures are not fetched."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from oaml_core.errors import ModelInputError
from oaml_core.structured_text import parse_json

FORM, JSON = "multipart/form-data", "application/json"
KINDS = "JPEG, PNG, WebP, BMP, TIFF or GIF"
MOST_FIELDS = 10
"""Fields of a form that are read; a photograph is one."""


class Photos:
    """Dependency of a route: the photographs of the request, in the order of their names.

    Args:
        names: of the fields that hold them, in a form or in JSON.
    """

    def __init__(self, *names: str) -> None:
        self.names = names

    async def __call__(self, request: Request) -> tuple[bytes, ...]:
        """Read the body.

        Raises:
            HTTPException: 400, the form is broken; 422, it lacks a photograph, holds something that is not read, or the
                body is of another kind.
            ModelInputError: the JSON is damaged, or lacks a photograph, or that is no base64.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == FORM:
            return await self._files(request)
        if kind == JSON:
            return self._decoded(await request.body())
        raise HTTPException(422, f"Send {self._wanted} as {FORM}, or as base64 in {JSON}.")

    @property
    def body(self) -> dict[str, Any]:
        """The description of the body for OpenAPI, as the argument `openapi_extra` of a route takes it."""
        file = {"type": "string", "format": "binary", "description": f"photograph: {KINDS}"}
        text = {
            "type": "string",
            "contentEncoding": "base64",
            "description": f"photograph: {KINDS}, in base64; the example is cut off",
            "examples": ["/9j/4AAQSkZJRgABAQAASABIAAD/"],
        }
        content = {
            kind: {
                "schema": {
                    "type": "object",
                    "required": [*self.names],
                    "properties": dict.fromkeys(self.names, one),
                    "additionalProperties": False,
                }
            }
            for kind, one in ((FORM, file), (JSON, text))
        }
        return {"requestBody": {"required": True, "content": content}}

    @property
    def _wanted(self) -> str:
        return " and ".join(f"`{name}`" for name in self.names)

    async def _files(self, request: Request) -> tuple[bytes, ...]:
        async with request.form(max_files=MOST_FIELDS, max_fields=MOST_FIELDS) as form:
            found = []
            self._refuse_others([name for name, _ in form.multi_items()])
            for name in self.names:
                file = form.get(name)
                if not isinstance(file, UploadFile):
                    raise HTTPException(422, f"The form has no file `{name}`. Send {self._wanted}.")
                found.append(await file.read())
            return tuple(found)

    def _refuse_others(self, given: list[str]) -> None:
        """Raise HTTPException 422 if a field is not read, or would be read once of twice: a slip would pass unseen."""
        for name in given:
            if name not in self.names:
                raise HTTPException(
                    422,
                    f"The field {name[:50]!r} of the body is not read. Send {self._wanted} there, and options behind "
                    "the address: `?option=value`.",
                )
            if given.count(name) > 1:
                raise HTTPException(422, f"The body has `{name}` more than once. Send one photograph per request.")

    def _decoded(self, body: bytes) -> tuple[bytes, ...]:
        remedy = f"Send {self._wanted} in base64."
        given = parse_json(body, "The body", remedy, ModelInputError, dict.fromkeys(self.names, str))
        found = []
        self._refuse_others(list(given))
        for name in self.names:
            text = given[name]
            if text.startswith("data:"):  # as browsers give a file
                text = text.partition(",")[2]
            try:
                found.append(base64.b64decode("".join(text.split()), validate=True))
            except (binascii.Error, ValueError):
                raise ModelInputError(f"`{name}` is no base64. Addresses of pictures are not fetched.") from None
        return tuple(found)
