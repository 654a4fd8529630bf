"""A gallery to another file and back, and whether everything in it is whole."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from oaml_core.errors import DataError
from oaml_core.inference.gallery.database import AT_ONCE, EnrolledFace, Gallery
from oaml_core.inference.gallery.packing import check_record
from oaml_core.whole_file import written_whole


def export_gallery(gallery: Gallery, path: Path) -> None:
    """Write the gallery as it is now into a new file, itself a gallery.

    Raises:
        DataError: the file is there already, or cannot be written.
    """
    if path.exists():
        raise DataError(f"{path} is there already. Name a new file.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as whole:
            gallery.query("VACUUM INTO ?", str(whole))
    except (sqlite3.DatabaseError, OSError) as error:
        raise DataError(f"{path} cannot be written: {error}.") from error


def import_gallery(gallery: Gallery, path: Path) -> tuple[int, int]:
    """Add all faces of another gallery of the same model, in one transaction.

    Args:
        gallery: what they are added to.
        path: of the other gallery.

    Returns:
        Faces that were added, and faces that were there already.

    Raises:
        DataError: `path` is no gallery, is of another model, or is damaged.
    """
    with Gallery(path) as other:
        if other.model != gallery.model:
            raise DataError(
                f"{path} is of model {other.model}, {gallery.path} of {gallery.model}. Rebuild one of them."
            )
        if found := verify_gallery(other):
            raise DataError(f"{path} is damaged: {found[0]}")
        everything = other.faces()
        with gallery.change() as db:
            added = sum(_take(db, gallery, other, face) for face in everything.values())
    return added, len(everything) - added


def verify_gallery(gallery: Gallery) -> list[str]:
    """Read everything and return what is wrong, one sentence each; empty if nothing is.

    Raises:
        sqlite3.Error: the file cannot be read now, as another process holds it.
    """
    try:
        found = [f"{gallery.path}: {row[0]}." for row in gallery.query("PRAGMA integrity_check") if row[0] != "ok"]
        if found:
            return found
        found = [
            f"A row of {row[0]} belongs to nothing in {row[2]}." for row in gallery.query("PRAGMA foreign_key_check")
        ]
        keys = gallery.face_keys()
        there = set(keys)
        found += [
            f"Face {face.key} of {face.person} has no record of model {gallery.model}."
            for face in gallery.faces().values()
            if face.key not in there
        ]
        for start in range(0, len(keys), AT_ONCE):
            packed = gallery.packed(keys[start : start + AT_ONCE])
            reasons = ((key, check_record(record)) for key, record in packed.items())
            found += [f"The record of face {key} {reason}." for key, reason in reasons if reason]
    except DataError as error:
        return [f"{gallery.path}: {error}".rstrip(".") + "."]
    return found


def _take(db: sqlite3.Connection, gallery: Gallery, other: Gallery, face: EnrolledFace) -> bool:
    person = gallery.spelled(face.person)
    db.execute("INSERT INTO people (name) VALUES (?) ON CONFLICT DO NOTHING", (person,))
    (owner,) = db.execute("SELECT id FROM people WHERE name = ?", (person,)).fetchone()
    about = (owner, face.source, face.digest, face.added, face.remark)
    image, packed = other.image(face.key), other.packed([face.key])[face.key]
    return gallery.insert_face(db, about, image, packed, face.detected) is not None
