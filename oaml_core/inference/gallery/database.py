"""Faces of people and their records in one file: whole after a crash, and empty where something was deleted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from oaml_core.errors import DataError
from oaml_core.inference.gallery.detected import COLUMNS, Detected
from oaml_core.inference.gallery.packing import ONE_VECTOR, Packed, local_vector, pack_record, unpack_records
from oaml_core.inference.gallery.people import GalleryPeople, checked_name
from oaml_core.inference.gallery.sealing import SEALED, is_sealed
from oaml_core.inference.records import FaceRecords

AT_ONCE = 500
"""Keys per query; SQLite limits the number of values in one."""
OF_IMAGE = b"I"
"""Kind of encrypted images."""
KIND = slice(3, 4)
"""Byte of a record's mark that says what the record holds; it stays readable when the record is encrypted."""


class EnrolledFace(NamedTuple):
    """One enrolled face, without its record."""

    key: int
    """Number of the face; never given a second time."""
    person: str
    source: str
    """Place that the photograph came from."""
    digest: str
    """SHA-256 of the photograph."""
    added: str
    """Time of enrolment in UTC (ISO 8601)."""
    remark: str
    """How the face was found, and what is covered."""
    kept: bool
    """Whether the aligned image is kept."""
    detected: Detected | None
    """Box and quality; None of faces that were enrolled before these were kept."""


class Gallery(GalleryPeople):
    """A gallery in one file; see `GalleryFile` and `EncryptedFile` for how it is opened."""

    def add(
        self,
        person: str,
        records: FaceRecords,
        *,
        source: str,
        digest: str,
        remark: str = "",
        image: bytes | None = None,
        detected: Detected | None = None,
    ) -> int | None:
        """Enrol one face; it is there for good once this returns.

        Args:
            person: name; a new one makes a new person.
            records: of the face, its first row.
            source: where the photograph came from.
            digest: SHA-256 of the photograph.
            remark: how the face was found.
            image: aligned face as an image file, to be kept; None: it is not.
            detected: box and quality of the face; None: they are not known.

        Returns:
            The face's key; None if the person has a face of this photograph already.

        Raises:
            DataError: the name is empty. GalleryMoved: the gallery is of another model meanwhile.
            GalleryLocked: the gallery is encrypted, and its key is missing or another one.
        """
        name = self.spelled(checked_name(person))
        packed = pack_record(records)
        with self.change() as db:
            self.require_model()
            db.execute("INSERT INTO people (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
            (owner,) = db.execute("SELECT id FROM people WHERE name = ?", (name,)).fetchone()
            return self.insert_face(db, (owner, source, digest, _now(), remark), image, packed, detected)

    def replace(
        self,
        key: int,
        records: FaceRecords,
        *,
        source: str,
        digest: str,
        remark: str = "",
        image: bytes | None = None,
        detected: Detected | None = None,
    ) -> int:
        """Put a face of another photograph in place of one of the same person, in one change; returns its key.

        Args:
            key: of the face that is deleted.
            records, source, digest, remark, image, detected: of the new face, as `add` takes them.

        Raises:
            DataError: there is no such face, or the person has another face of this photograph.
            GalleryMoved, GalleryLocked: as by `add`.
        """
        packed = pack_record(records)
        with self.change() as db:
            self.require_model()
            row = db.execute("SELECT person FROM faces WHERE id = ?", (key,)).fetchone()
            if row is None:
                raise self.no_face(key)
            db.execute("DELETE FROM faces WHERE id = ?", (key,))
            made = self.insert_face(db, (*row, source, digest, _now(), remark), image, packed, detected)
            if made is None:
                raise DataError(f"The person of face {key} has this photograph already; remove face {key} instead.")
            return made

    def insert_face(
        self,
        db: sqlite3.Connection,
        face: tuple[int, str, str, str, str],
        image: bytes | None,
        packed: Packed,
        detected: Detected | None,
    ) -> int | None:
        """Write a face with its record within a change; returns its key, None if the person has this photograph.

        Args:
            db: of the change.
            face: number of the person, source, digest, when it was added, and remark.
            image: aligned face as an image file; None: it is not kept.
            packed: record by the gallery's model.
            detected: box and quality; None: they are not known.

        Raises:
            GalleryLocked: the gallery is encrypted, and its key is missing or another one.
        """
        kept = None if image is None else self.sealed(OF_IMAGE, image, face[2])
        made = db.execute(
            "INSERT INTO faces (person, source, digest, added, remark, image) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (person, digest) DO NOTHING RETURNING id",
            (*face, kept),
        ).fetchone()
        if made is None:
            return None
        self.write_record(db, made[0], self.model, packed)
        if detected is not None:
            places = ", ".join("?" * (1 + len(COLUMNS)))
            db.execute(f"INSERT INTO detected VALUES ({places})", (made[0], *detected.row()))
        return int(made[0])

    def write_record(self, db: sqlite3.Connection, face: int, model: str, packed: Packed) -> None:
        """Write the record of a face by a model within a change, in place of a former one.

        Raises:
            GalleryLocked: the gallery is encrypted, and its key is missing or another one.
        """
        detail = self.sealed(packed.detail[KIND], packed.detail, place_of_record(model, face))
        db.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", (face, model, packed.embedding, detail))

    def find(self, person: str, digest: str) -> int | None:
        """Return the key of the person's face of the photograph with this SHA-256; None if there is none."""
        words = "SELECT faces.id FROM faces JOIN people ON person = people.id WHERE name = ? AND digest = ?"
        rows = self.query(words, self.spelled(person), digest)
        return int(rows[0][0]) if rows else None

    def faces(self, keys: Iterable[int] | None = None, person: str | None = None) -> dict[int, EnrolledFace]:
        """Return faces by key: those of `keys`, those of a person, or all.

        Raises:
            DataError: box or quality of one is damaged.
        """
        words = (
            f"SELECT faces.id, name, source, digest, added, remark, image IS NOT NULL, {', '.join(COLUMNS)} "
            "FROM faces JOIN people ON person = people.id LEFT JOIN detected ON face = faces.id"
        )
        if keys is not None:
            rows = [row for part in _parts(keys) for row in self.query(f"{words} WHERE faces.id IN ({part})")]
        elif person is not None:
            rows = self.query(f"{words} WHERE name = ? ORDER BY faces.id", self.spelled(person))
        else:
            rows = self.query(f"{words} ORDER BY faces.id")
        return {row[0]: EnrolledFace._make((*row[:6], bool(row[6]), Detected.of_row(row[7:], row[0]))) for row in rows}

    def face_keys(self) -> list[int]:
        """Return keys of all faces that have a record of the gallery's model, in order."""
        return [row[0] for row in self.query("SELECT face FROM records WHERE model = ? ORDER BY 1", self.model)]

    def embeddings(self, keys: Iterable[int]) -> dict[int, bytes]:
        """Return embeddings by key, float32 little endian; faces that are gone are left out."""
        words = "SELECT face, embedding FROM records WHERE model = ? AND face IN"
        return dict(row for part in _parts(keys) for row in self.query(f"{words} ({part})", self.model))

    def local_embeddings(self, keys: Iterable[int]) -> dict[int, bytes]:
        """Return local vectors by key, as `embeddings` does; none of a model that compares maps of local features."""
        words = "SELECT face, detail FROM records WHERE model = ? AND substr(detail, 1, 4) IN (?, ?) AND face IN"
        marks = ONE_VECTOR, SEALED + ONE_VECTOR[KIND]
        rows = (row for part in _parts(keys) for row in self.query(f"{words} ({part})", self.model, *marks))
        details = ((key, self._detail(key, detail)) for key, detail in rows)
        return {key: local_vector(detail) for key, detail in details if not is_sealed(detail)}

    def packed(self, keys: Iterable[int]) -> dict[int, Packed]:
        """Packed records by key; faces that are gone are left out."""
        words = "SELECT face, embedding, detail FROM records WHERE model = ? AND face IN"
        rows = (row for part in _parts(keys) for row in self.query(f"{words} ({part})", self.model))
        return {key: Packed(embedding, self._detail(key, detail)) for key, embedding, detail in rows}

    def _detail(self, key: int, detail: bytes) -> bytes:
        return self.unsealed(detail, place_of_record(self.model, key))

    def records(self, keys: Iterable[int]) -> tuple[list[int], FaceRecords | None]:
        """Return keys that are there, in the order given, and their records; None without any.

        Raises:
            DataError: a record is damaged.
            GalleryLocked: the gallery is encrypted, and its key is missing or another one.
        """
        wanted = list(keys)
        found = self.packed(wanted)
        there = [key for key in wanted if key in found]
        return there, unpack_records([found[key] for key in there]) if there else None

    def image(self, key: int) -> bytes | None:
        """Return the aligned face as an image file; None if it is not kept.

        Raises:
            GalleryLocked: the gallery is encrypted, and its key is missing or another one. DataError: it is damaged.
        """
        rows = self.query("SELECT image, digest FROM faces WHERE id = ? AND image IS NOT NULL", key)
        if not rows:
            return None
        image = self.unsealed(*rows[0])
        if is_sealed(image):
            raise DataError(f"The image of face {key} cannot be decrypted: it was changed. Enrol the face again.")
        return image


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def place_of_record(model: str, face: int) -> str:
    """Return where a record belongs, to which its encrypted part is bound."""
    return f"{model} {face}"


def _parts(keys: Iterable[int]) -> Iterator[str]:
    """Yield keys as lists for queries; they are integers, and so nothing to be quoted."""
    wanted = [int(key) for key in keys]
    for start in range(0, len(wanted), AT_ONCE):
        yield ",".join(map(str, wanted[start : start + AT_ONCE]))
