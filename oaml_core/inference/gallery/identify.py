"""A photograph against a gallery in one file: what `oaml identify --gallery people.gallery` prints and draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oaml_core.decoding.decode import decode_image, fit_square
from oaml_core.errors import DataError
from oaml_core.inference.compared_pair import DrawablePair, drawable_pair
from oaml_core.inference.comparer import Comparer
from oaml_core.inference.drawing import save_pair
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.search import Answer, GallerySearch
from oaml_core.inference.identify import Candidate, Identification
from oaml_core.inference.photo_records import describe
from oaml_core.inference.records import FaceRecords
from oaml_core.inference.verdict import judge_pair
from oaml_core.photos.faces import FaceFinder


def identify_in_gallery(
    gallery: Gallery, model: Comparer, finder: FaceFinder, probe: Path, *, far: float, top: int = 5
) -> tuple[Identification, Answer]:
    """Rank the people of a gallery by their best face's score with the main face of a photograph.

    Args:
        gallery: of this model.
        model: recogniser with thresholds.
        finder: finds and aligns.
        probe: photograph.
        far: false accept rate of one comparison, whose threshold decides.
        top: people named.

    Raises:
        ModelInputError: the photograph cannot be used. DataError: the gallery is empty or damaged.
    """
    shown, one = describe(model, finder, probe)
    answer = GallerySearch(gallery, model).search(one, top)
    if not answer.people:
        raise DataError(f"{gallery.path} is empty. `oaml gallery add {gallery.path} FOLDER` enrols people.")
    candidates = []
    for found in answer.people:
        records = gallery.records([found.face.key])[1]
        if records is not None:  # else deleted meanwhile
            path = Path(found.face.source)
            candidates.append(
                Candidate(found.face.person, path, found.score, found.visible_share, records, found.ratio)
            )
    if not candidates:
        raise DataError(f"The people found in {gallery.path} were deleted meanwhile. Search once more.")
    threshold = model.threshold(far, answer.score)
    best = candidates[0]
    verdict = judge_pair(model, answer.score, best.score, best.visible_share, far, [shown])
    rates = list(model.thresholds(answer.score))
    return (
        Identification(
            answer.score,
            candidates,
            threshold,
            far,
            rates,
            answer.faces,
            {},
            one,
            shown,
            verdict.reason,
            verdict.proof,
        ),
        answer,
    )


def draw_gallery_identification(
    found: Identification, answer: Answer, gallery: Gallery, model: Comparer, out: Path
) -> bool:
    """Draw probe and first candidate side by side; False, and nothing drawn, if the candidate's image is not kept.

    The kept image is described once more: of a model with one local vector per face, the gallery holds no local
    features, and lines between places are drawn from those.

    Args:
        found: what `identify_in_gallery` found.
        answer: the other part of that.
        gallery: where.
        model: recogniser that the gallery is of.
        out: picture file, see `save_pair`.
    """
    if found.face is None:
        return False
    pair = pair_with_kept(gallery, model, answer.people[0].face.key, found.face.image, found.probe)
    if pair is not None:
        save_pair(pair, out, str(found).partition("\n")[0])
    return pair is not None


def pair_with_kept(
    gallery: Gallery, model: Comparer, key: int, image: NDArray[np.uint8], probe: FaceRecords
) -> DrawablePair | None:
    """Return a probe and an enrolled face as they are drawn side by side; None if that face's image is not kept.

    Args:
        gallery: where.
        model: recogniser that the gallery is of.
        key: of the enrolled face.
        image: aligned probe, uint8 [S, S, 3].
        probe: its record.

    Raises:
        GalleryLocked: the gallery is encrypted, and its key is missing or another one. DataError: it is damaged.
    """
    kept = gallery.image(key)
    if kept is None:
        return None
    other = fit_square(decode_image(kept), model.image_size)
    return drawable_pair((image, other), (probe, model.records(other[None])))
