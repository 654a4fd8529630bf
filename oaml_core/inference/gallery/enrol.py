"""Photographs into a gallery: found, aligned, described, and kept as records; the pictures only if that is wanted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from oaml_core.amounts import amount
from oaml_core.decoding.files import read_image_bytes
from oaml_core.errors import DataError, ModelInputError
from oaml_core.inference.comparer import Comparer
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.detected import Detected
from oaml_core.inference.gallery.people import checked_name
from oaml_core.inference.gallery.rebuild import encode_face
from oaml_core.inference.identify import gallery_files
from oaml_core.inference.photo_records import describe, describe_face, remark
from oaml_core.inference.records import FaceRecords
from oaml_core.photos.detection import Photo
from oaml_core.photos.faces import FaceFinder
from oaml_core.photos.photo_face import PhotoFace
from oaml_core.progress import progress


@dataclass
class Enrolled:
    """The outcome of enrolling a folder of photographs."""

    added: int = 0
    there: int = 0
    """Photographs that the gallery has already."""
    left_out: dict[Path, str] = field(default_factory=dict)
    """Photographs that could not be used, and why."""

    def __str__(self) -> str:
        rows = [f"left out: {reason}" for reason in self.left_out.values()]
        return "\n".join(
            [f"{amount(self.added, 'face')} added, {self.there} were there, {len(self.left_out)} left out", *rows]
        )


class EnrolledAs(TypedDict):
    """One face as `Gallery.add` and `Gallery.replace` take it, by the names of their arguments."""

    records: FaceRecords
    source: str
    digest: str
    remark: str
    image: bytes | None
    detected: Detected


def enrol_folder(
    gallery: Gallery,
    model: Comparer,
    finder: FaceFinder,
    folder: Path,
    *,
    person: str | None = None,
    keep: bool = False,
) -> Enrolled:
    """Add the main face of each photograph; each is there for good as soon as it was added.

    Args:
        gallery: of this model.
        model: recogniser.
        finder: finds and aligns.
        folder: one folder per person, or one picture per person; or a single photograph, of `person`.
        person: whose photographs these are; None: by the folders' and files' names.
        keep: keep the aligned faces in the gallery: a rebuild for another model then needs no photographs.

    Raises:
        DataError: there is no photograph.
    """
    if folder.is_file():
        files = [(person or folder.stem, folder)]
    else:
        files = [(person or name, path) for name, path in gallery_files(folder)]
    done = Enrolled()
    for name, path in progress(files, len(files), "enrol"):
        try:
            checked_name(name)
        except DataError as error:  # of a folder: the others go on
            done.left_out[path] = f"{path}: {error}"
            continue
        try:
            digest = hashlib.sha256(read_image_bytes(path)).hexdigest()
            if gallery.find(name, digest) is not None:
                done.there += 1
                continue
            key = gallery.add(name, **_enrolled(describe(model, finder, path), str(path.resolve()), digest, keep=keep))
        except (ModelInputError, OSError) as error:
            done.left_out[path] = str(error)
            continue
        done.added, done.there = done.added + (key is not None), done.there + (key is None)
    if not done.added and not done.there:
        raise DataError(f"No photograph in {folder} can be used. The first: {next(iter(done.left_out.values()))}")
    return done


def replace_face(
    gallery: Gallery, model: Comparer, finder: FaceFinder, path: Path, key: int, *, keep: bool = False
) -> int:
    """Put the main face of a photograph in place of a face of the same person; returns its key.

    Raises:
        ModelInputError: it shows no face. DataError: there is no such face, or the person has this photograph.
    """
    digest = hashlib.sha256(read_image_bytes(path)).hexdigest()
    found = describe(model, finder, path)
    return gallery.replace(key, **_enrolled(found, str(path.resolve()), digest, keep=keep))


def described_upload(
    model: Comparer, finder: FaceFinder, photo: Photo, *, digest: str, keep: bool = False
) -> EnrolledAs:
    """Describe the main face of a photograph in memory, for `Gallery.add` or `Gallery.replace`.

    Args:
        model: recogniser, the gallery's.
        finder: finds and aligns.
        photo: pixels.
        digest: SHA-256 of the photograph.
        keep: keep the aligned face in the gallery.

    Raises:
        ModelInputError: it shows no face.
    """
    found = describe_face(model, finder.main_face_in(photo, "the photograph", model.image_size))
    return _enrolled(found, "upload", digest, keep=keep)


def _enrolled(found: tuple[PhotoFace, FaceRecords], source: str, digest: str, *, keep: bool) -> EnrolledAs:
    face, records = found
    said = remark(face, records)
    image = encode_face(face.image) if keep else None
    return {
        "records": records,
        "source": source,
        "digest": digest,
        "remark": said,
        "image": image,
        "detected": Detected.of(face),
    }
