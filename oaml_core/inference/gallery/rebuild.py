"""A gallery for another model: faces are described beside the present records, then all change at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from oaml_core.decoding.decode import decode_image, fit_square
from oaml_core.decoding.files import read_image_bytes
from oaml_core.errors import DataError, ModelInputError
from oaml_core.inference.comparer import Comparer
from oaml_core.inference.gallery.database import EnrolledFace, Gallery
from oaml_core.inference.gallery.encryption import encrypt_contents
from oaml_core.inference.gallery.file import MODEL_AT
from oaml_core.inference.gallery.packing import pack_record
from oaml_core.inference.photo_records import describe
from oaml_core.inference.records import FaceRecords
from oaml_core.photos.faces import FaceFinder


@dataclass
class Rebuilt:
    """The outcome of a rebuild."""

    described: int = 0
    """Faces that were described by the new model."""
    left_out: dict[int, str] = field(default_factory=dict)
    """Faces that could not be described, by key, and why."""
    switched: bool = False
    """Whether the gallery is of the new model now."""
    encrypted: int = 0
    """Faces that were not encrypted before, and are now."""


def rebuild(
    gallery: Gallery,
    model: Comparer,
    version: str,
    finder: FaceFinder | None,
    *,
    forget: bool = False,
    address: str = "",
) -> Rebuilt:
    """Describe all faces by another model, and change over once all are described.

    Searches answer by the old records until then. An interrupted rebuild goes on where it stopped. A face is described
    from its kept image, or else from its photograph if that still lies where it came from, unchanged.
    A gallery that was made without a key is encrypted first, if the environment names one (see `sealing`).

    Args:
        gallery: open with its present model.
        model: coming recogniser.
        version: its version.
        finder: finds faces in photographs; None: the photographs are aligned faces.
        forget: delete faces that cannot be described; without it they prevent the change.
        address: where the coming model lies, for services that follow the gallery; empty: not known.

    Raises:
        GalleryLocked: the gallery is encrypted, and its key is missing or another one.
    """
    done = Rebuilt(encrypted=_encrypt(gallery))
    if version == gallery.model:
        done.switched = True
        return done
    # Faces that were added meanwhile are described in another round, until none is left.
    while waiting := [key for key in _waiting(gallery, version) if key not in done.left_out]:
        for face in gallery.faces(waiting).values():
            try:
                records = _describe(gallery, face, model, finder)
            except (DataError, ModelInputError) as error:
                done.left_out[face.key] = f"{face.person}, {face.source}: {error}"
                continue
            done.described += _keep(gallery, face.key, version, records)
    if done.left_out and not forget:
        return done
    _switch(gallery, version, address, forget=forget)
    done.switched = True
    return done


def encode_face(image: np.ndarray) -> bytes:
    """Return an aligned face, uint8 [S, S, 3] RGB, as a PNG file."""
    file = BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def _encrypt(gallery: Gallery) -> int:
    """Encrypt the faces of a gallery that was made without a key, if there is one; returns how many there are.

    Raises:
        GalleryLocked: it is encrypted already, and its key is missing or another one.
    """
    gallery.require_key()
    return 0 if gallery.is_encrypted or gallery.cipher is None else encrypt_contents(gallery, gallery.cipher)


def _waiting(gallery: Gallery, version: str) -> Iterator[int]:
    words = "SELECT id FROM faces WHERE id NOT IN (SELECT face FROM records WHERE model = ?) ORDER BY id"
    return (row[0] for row in gallery.query(words, version))


def _describe(gallery: Gallery, face: EnrolledFace, model: Comparer, finder: FaceFinder | None) -> FaceRecords:
    kept = gallery.image(face.key)
    if kept is not None:
        return model.records(fit_square(decode_image(kept), model.image_size)[None])
    photo = Path(face.source)
    if not photo.is_file():
        raise DataError("the image was not kept, and the photograph is gone")
    if hashlib.sha256(read_image_bytes(photo)).hexdigest() != face.digest:
        raise DataError("the image was not kept, and the photograph has changed")
    return describe(model, finder or FaceFinder(aligned=True), photo)[1]


def _keep(gallery: Gallery, key: int, version: str, records: FaceRecords) -> bool:
    packed = pack_record(records)
    with gallery.change() as db:
        if db.execute("SELECT 1 FROM faces WHERE id = ?", (key,)).fetchone() is None:
            return False  # deleted meanwhile
        gallery.write_record(db, key, version, packed)
    return True


def _switch(gallery: Gallery, version: str, address: str, *, forget: bool) -> None:
    """Change to the records by `version` at once, and delete those of all other models.

    Raises:
        DataError: a face came meanwhile that has none.
    """
    missing = "FROM faces WHERE id NOT IN (SELECT face FROM records WHERE model = ?)"
    with gallery.change() as db:
        if not forget and db.execute(f"SELECT count(*) {missing}", (version,)).fetchone()[0]:
            raise DataError(
                "Faces were added to the gallery meanwhile; nothing was changed.",
                here=f"Rebuild {gallery.path} once more.",
            )
        db.execute(f"DELETE {missing}", (version,))
        db.execute("DELETE FROM people WHERE id NOT IN (SELECT person FROM faces)")
        db.execute("DELETE FROM records WHERE model != ?", (version,))
        db.execute("UPDATE meta SET value = ? WHERE key = 'model'", (version,))
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (MODEL_AT, address))
    gallery.model = version
