"""Strangers of the benchmark: faces of other people, by which the scores of measured faces are measured.

See `oaml_core.inference.strangers`: every pair's score in deviations of what both its faces score with strangers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.inputs import open_training
from oaml_core.decoding.decode import decode_image, fit_square
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.covered.faces import KnownFaces
from oaml_core.evaluation.statistics.seed import SEED
from oaml_core.held_folder import held_folder
from oaml_core.inference.strangers import FEWEST

Images = NDArray[np.uint8]

FACES = 2048
"""Most faces of a cohort."""


def open_cohort(path: Path, size: int = 112, count: int = FACES) -> Images:
    """Open faces of strangers, [n, H, W, 3].

    Args:
        path: aligned faces in any form that training reads: records, a list, or one folder per person.
        size: side of the faces in pixels.
        count: most faces; they are drawn by a fixed seed.

    Raises:
        DataError: there are no faces.
        EvaluationError: there are fewer than `FEWEST`.
    """
    faces = open_strangers(path, size, count)
    if len(faces) < FEWEST:
        raise EvaluationError(
            f"{path} holds {amount(len(faces), 'face')}; a cohort takes at least {FEWEST}, better {count}. "
            "Give more faces, or leave --cohort out."
        )
    return faces


def open_strangers(path: Path, size: int, count: int) -> Images:
    """Open faces as they are, whoever they show, drawn by a fixed seed.

    Args:
        path: aligned faces in any form that training reads: records, a list, or one folder per person.
        size: side of the faces in pixels.
        count: most faces.

    Returns:
        Faces [n, size, size, 3].

    Raises:
        DataError: there are no faces.
    """
    with held_folder("oaml-faces-") as scratch:
        source = open_training(LocalFolder(path, key="faces of strangers"), scratch)
        generator = np.random.default_rng(SEED)
        chosen = np.sort(generator.choice(len(source), min(count, len(source)), replace=False))
        faces = [fit_square(decode_image(source.read(int(row))), size) for row in chosen]
    return np.stack(faces)


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
