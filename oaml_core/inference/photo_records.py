"""Faces of photographs as the recogniser describes them: aligned, looked at for cover, and aligned again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from oaml_core.inference.comparer import Comparer
from oaml_core.inference.records import FaceRecords
from oaml_core.photos.alignment import template
from oaml_core.photos.faces import FaceFinder
from oaml_core.photos.photo_face import PhotoFace
from oaml_core.photos.quality import COVERED, SMALL_EYES, covered_regions, visible_points

LEAST_VISIBLE = 0.1
"""Share of the face visible in both pictures below which nothing is decided."""


COVER_UNKNOWN = "what is covered is not known: the model compares embeddings alone"


def describe(model: Comparer, finder: FaceFinder, path: Path) -> tuple[PhotoFace, FaceRecords]:
    """Return the main face of a photograph and its records.

    Points that the visibility map calls covered were guessed by the detector: if there are such, and two others are
    visible, the face is aligned again by those.

    Args:
        model: recogniser.
        finder: finds and aligns.
        path: photograph.

    Raises:
        ModelInputError: the file cannot be read, or shows no face.
    """
    face = finder.main_face(path, model.image_size)
    return describe_face(model, face)


def describe_face(model: Comparer, face: PhotoFace) -> tuple[PhotoFace, FaceRecords]:
    """Return an aligned face, aligned again by its visible points if some are covered, and its records."""
    records = model.records(face.image[None])
    if face.alignment is None:
        return face, records
    visible = visible_points(records.visibility[0, 0], template(model.image_size), model.image_size)
    uncovered = visible >= COVERED
    if uncovered.all() or np.count_nonzero(uncovered) < 2:
        return face, records
    face = face.refitted(visible * uncovered)
    return face, model.records(face.image[None])


def remark(face: PhotoFace, records: FaceRecords) -> str:
    """Return in words how a face was found, what is amiss, how much of it is visible, and which regions are covered.

    Args:
        face: of a photograph.
        records: of this face alone.
    """
    if not records.tell_cover:
        return f"{face}; {COVER_UNKNOWN}"
    visibility = records.visibility[0, 0]
    covered = covered_regions(visibility)
    said = f"{face}; {100 * float(visibility.mean()):.0f} % visible"
    return f"{said}, covered: {', '.join(covered)}" if covered else said


def reason_against(faces: Sequence[PhotoFace], visible_share: float) -> str:
    """Return why nothing may be decided about a pair of faces; empty if nothing stands against it.

    Args:
        faces: the pair.
        visible_share: mean product of both visibilities, in [0, 1].
    """
    if visible_share < LEAST_VISIBLE:
        return f"{100 * visible_share:.0f} % of the face is visible in both, {100 * LEAST_VISIBLE:.0f} % is the least"
    for quality in (face.quality for face in faces):
        if quality is not None and quality.eye_distance < SMALL_EYES:
            return f"a face has {quality.eye_distance:.0f} pixels between its eyes, {SMALL_EYES:.0f} is the least"
    return ""
