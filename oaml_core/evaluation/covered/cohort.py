"""Cohort normalisation: every face's scores are measured against what strangers score with the same face.

A covered face shows less, and its scores with strangers lie higher or spread wider than those of an uncovered face. One
threshold then means another false accept rate for each cover. Adaptive symmetric normalisation takes this out of the
score of a pair: mean and deviation of the most similar strangers of a cohort, for each of its two faces (Matějka et
al., "Analysis of score normalization in multilingual speaker recognition", Interspeech 2017).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.data.augment.occlusion import draw_occluder
from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.inputs import open_training
from oaml_core.decoding.decode import decode_image, fit_square
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.covered.faces import KnownFaces
from oaml_core.evaluation.own_faces.checkpoint_comparer import CheckpointComparer
from oaml_core.evaluation.statistics.seed import SEED
from oaml_core.inference.comparer import Comparer
from oaml_core.inference.records import FaceRecords

Floats = NDArray[np.float64]
Images = NDArray[np.uint8]

FACES = 128
"""Faces of a cohort; every second one is covered."""
NEAREST = 32
"""Strangers of the cohort, the most similar ones, that a face's scores are measured against."""
KINDS: tuple[str, ...] = ("surgical", "veil", "sunglasses", "scarf", "hand")
"""Occluders of the training artwork that the cohort wears in turn."""


class CohortScores(NamedTuple):
    """Scores of n faces with every face of a cohort, each [n, C]."""

    global_score: Floats
    local_score: Floats | None
    combined_score: Floats | None


class Spread(NamedTuple):
    """The scores of the most similar strangers with each of n faces."""

    mean: Floats
    """[n]"""
    deviation: Floats
    """[n]"""

    @classmethod
    def of(cls, scores: Floats, nearest: int = NEAREST) -> Spread:
        """Return the spread of the highest `nearest` scores of each row [n, C]."""
        highest = -np.partition(-scores, min(nearest, scores.shape[1]) - 1, axis=1)[:, :nearest]
        # Equal scores do not spread; a score's distance from them has no unit then.
        deviation = highest.std(axis=1)
        return cls(highest.mean(axis=1), np.where(deviation > 0, deviation, 1.0))


def normalise(
    scores: Floats, probe: Spread, gallery: Spread, first: NDArray[np.int64], second: NDArray[np.int64]
) -> Floats:
    """Return the scores of pairs [N] in deviations from the strangers of both faces, mean of the two.

    Args:
        scores: [N]
        probe: of the faces that come first.
        gallery: of the faces that come second.
        first: [N], rows of `probe`.
        second: [N], rows of `gallery`.
    """
    one = (scores - probe.mean[first]) / probe.deviation[first]
    other = (scores - gallery.mean[second]) / gallery.deviation[second]
    found: Floats = (one + other) / 2
    return found


def compare_with_cohort(model: Comparer, faces: FaceRecords, cohort: FaceRecords) -> CohortScores:
    """Return score every face with every face of the cohort."""
    if isinstance(model, CheckpointComparer):
        # What a matcher makes of one face alone is made once, not once per pair.
        every, local = model.all_scores(faces, cohort)
        return CohortScores(every, local, model.combine(every, local))
    rows = [model.scores(faces.rows(slice(k, k + 1)), cohort) for k in range(len(faces.embedding))]
    return CohortScores(
        np.stack([row.global_score for row in rows]),
        _stacked([row.local_score for row in rows]),
        _stacked([row.combined_score for row in rows]),
    )


def open_cohort(path: Path, size: int = 112, count: int = FACES) -> Images:
    """Open faces of strangers, [n, H, W, 3], and cover every second one.

    Args:
        path: aligned faces in any form that training reads: records, a list, or one folder per person.
        size: side of the faces in pixels.
        count: most faces; they are drawn by a fixed seed.

    Raises:
        DataError: there are no faces.
        EvaluationError: there are fewer than two.
    """
    faces, points = open_strangers(path, size, count)
    if len(faces) < 2:
        raise EvaluationError(f"{path} holds {amount(len(faces), 'face')}; a cohort takes at least 2, better {count}.")
    return np.stack([_worn(face, points, place) if place % 2 else face for place, face in enumerate(faces)])


def open_strangers(path: Path, size: int, count: int) -> tuple[Images, NDArray[np.float32] | None]:
    """Open faces as they are, whoever they show, drawn by a fixed seed.

    Args:
        path: aligned faces in any form that training reads: records, a list, or one folder per person.
        size: side of the faces in pixels.
        count: most faces.

    Returns:
        Faces [n, size, size, 3], and their five points [n, 5, 2]; None: there are none.

    Raises:
        DataError: there are no faces.
    """
    with tempfile.TemporaryDirectory() as scratch:
        source = open_training(LocalFolder(path), Path(scratch))
        generator = np.random.default_rng(SEED)
        chosen = np.sort(generator.choice(len(source), min(count, len(source)), replace=False))
        faces = [fit_square(decode_image(source.read(int(row))), size) for row in chosen]
        points = None if source.landmarks is None else np.array(source.landmarks[chosen])
    return np.stack(faces), points


def refuse_known_faces(cohort: Images, measured: Sequence[KnownFaces]) -> None:
    """Refuse a cohort that shares pictures with the faces that are measured.

    Raises:
        EvaluationError: names the set.
    """
    strangers = {face.tobytes() for face in cohort}
    for faces in measured:
        shared = sum(image.tobytes() in strangers for image in faces.images)
        if shared:
            known = amount(shared, f"face of {faces.name} is", f"faces of {faces.name} are")
            raise EvaluationError(
                f"{known} in the cohort too. Give a cohort of other people: "
                "a face's scores with itself are no stranger's."
            )


def _worn(face: Images, points: NDArray[np.float32] | None, place: int) -> Images:
    known = points is not None and bool(np.isfinite(points[place]).all())
    image, _ = draw_occluder(
        torch.from_numpy(np.ascontiguousarray(face)).permute(2, 0, 1),
        np.array(points[place]) if known and points is not None else None,
        KINDS[place // 2 % len(KINDS)],
        torch.Generator().manual_seed(SEED + place),
    )
    covered: Images = image.permute(1, 2, 0).numpy()
    return covered


def _stacked(rows: Sequence[Floats | None]) -> Floats | None:
    known = [row for row in rows if row is not None]
    return np.stack(known) if len(known) == len(rows) and known else None
