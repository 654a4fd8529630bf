"""Where the models of a service come from, and a gallery that is described by a new one."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Protocol

from oaml_core.errors import DataError, GalleryMoved, OamlError
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.rebuild import rebuild
from oaml_core.serve.faces import FaceService, ServedModel

log = logging.getLogger("oaml.serve")
ROUNDS = 3
"""Rebuilds that are tried while faces are added."""


class ModelSource(Protocol):
    """A source of models, which is asked for the newest one."""

    def newest(self) -> str:
        """Name what should be served; the name changes whenever that does."""

    def load(self, address: str = "") -> ServedModel:
        """Load it, or the model at another address."""

    def address(self) -> str:
        """Return where it lies, so that others find it."""


def find_version(source: ModelSource | None, version: str, gallery: Gallery) -> ServedModel:
    """Find the model of a version: the newest one, or the one that the gallery names.

    Raises:
        GalleryMoved: it is neither.
    """
    address = gallery.model_address
    places = [] if source is None else ["", *([address] if address else [])]
    for place in places:
        assert source is not None
        try:
            model = source.load(place)
        except OamlError as error:
            log.info(json.dumps({"event": "model failed", "model": version, "reason": str(error)}))
            continue
        if model.version == version:
            return model
    raise GalleryMoved(
        f"The gallery is of model {version} now, and that one is not to be found.", here="Start the service with it."
    )


def first_model(source: ModelSource, gallery: Path | None) -> tuple[ServedModel, bool]:
    """Load the model that a service begins with: the newest, or that of its gallery.

    Args:
        source: of models.
        gallery: file of the gallery, which may be missing; None: the service has none.

    Returns:
        The model, and whether it is the newest.

    Raises:
        GalleryMoved: the gallery is of another model than the newest, and that one is not to be found.
        GalleryLocked: the gallery is encrypted, and its key is missing or another one.
    """
    newest = source.load()
    if gallery is None or not gallery.exists():
        return newest, True
    with Gallery(gallery) as opened:
        opened.require_key()
        version, address = opened.model, opened.model_address
    if version == newest.version:
        return newest, True
    reason = "it names no place of that model"
    if address:
        try:
            found = source.load(address)
        except OamlError as error:
            reason = str(error)
        else:
            if found.version == version:
                return found, False
            reason = f"at {address} lies model {found.version} now"
    raise GalleryMoved(
        f"{gallery} is of model {version}, but {newest.version} is to be served; {reason}. Name the gallery's model by "
        f"--onnx FILE, or let `oaml gallery rebuild {gallery}` describe its faces by the other one."
    )


def describe_gallery(path: Path, faces: FaceService, address: str) -> int:
    """Describe a gallery by another model and change it over; it stays as it is if a face cannot be described.

    Args:
        path: of the gallery.
        faces: answers by the other model.
        address: where that model lies.

    Returns:
        Faces that cannot be described; 0: the gallery is of the other model now.

    Raises:
        DataError: faces were added all the time.
    """
    for left in reversed(range(ROUNDS)):
        try:
            with Gallery(path) as coming:
                done = rebuild(coming, faces.model, faces.model.version, faces.finder, address=address)
        except DataError:
            if not left:
                raise
        else:
            return 0 if done.switched else len(done.left_out)
    raise AssertionError("the last round returns or raises")
