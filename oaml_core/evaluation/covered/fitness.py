"""Checks that models and sets fit the covered benchmark, made before the first model works for an hour."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.covered.faces import COVERED_ENDINGS, KnownFaces
from oaml_core.evaluation.covered.score import Pairs
from oaml_core.folder_entries import shown
from oaml_core.inference.comparer import Comparer

log = logging.getLogger(__name__)

TRIED = 2
"""Faces that every model describes before any is measured."""


def uncovered_alone(faces: KnownFaces) -> KnownFaces:
    """Return the faces that were photographed uncovered, for cover is laid on them; others are told in the log.

    Raises:
        EvaluationError: none is left, or no two people.
    """
    if not faces.covered.any():
        return faces
    kept = faces.rows(np.flatnonzero(~faces.covered))
    kept = replace(kept, people=np.unique(kept.people, return_inverse=True)[1].astype(np.int64))
    log.warning(
        "%s: %s left out of the uncovered faces, as their names end in %s. Name the folder by --real to measure them.",
        shown(faces.name),
        amount(int(faces.covered.sum()), "image is", "images are"),
        _endings(),
    )
    if len(np.unique(kept.people)) < 2:
        raise EvaluationError(
            f"{faces.name} has uncovered faces of fewer than two people: the others' names end in {_endings()}. Give "
            "uncovered faces."
        )
    return kept


def named_apart(real: KnownFaces, faces: KnownFaces) -> KnownFaces:
    """Return the real set under a name that the other set has not: figures are kept by the name of the set."""
    return replace(real, name=f"{real.name} (real)") if real.name == faces.name else real


def refuse_without_cover(real: KnownFaces) -> None:
    """Refuse a set of real cover that has uncovered or covered photographs alone.

    Raises:
        EvaluationError: names what is missing, and how covered photographs are told from others.
    """
    missing = "covered" if not real.covered.any() else "uncovered" if real.covered.all() else ""
    if missing:
        raise EvaluationError(
            f"{real.name}: none of its faces is {missing}. Names of covered ones end in {_endings()}, as in "
            "person/1_masked.jpg, those of others in nothing of that. Rename the files, or leave --real out."
        )


def refuse_unfit(models: Mapping[str, Comparer], images: NDArray[np.uint8]) -> None:
    """Refuse models that take faces of another size, or fail on the first faces.

    Args:
        models: by name.
        images: [n, H, W, 3], the faces that are to be measured.

    Raises:
        EvaluationError: a model takes faces of another size. ExportError: a model fails, or gives no numbers.
    """
    side = images.shape[1]
    for name, model in models.items():
        if model.image_size != side:
            raise EvaluationError(
                f"{name} takes faces of {model.image_size} × {model.image_size} pixels, and the benchmark's are "
                f"{side} × {side}: no two models could be given the same. Leave it out."
            )
    for model in models.values():
        model.records(images[:TRIED])


def refuse_unmeasurable(faces: KnownFaces, pairs: Pairs, far: float, limit: int, which: str = "") -> None:
    """Refuse pairs that cannot measure a false accept rate.

    Args:
        faces: that the pairs are of.
        pairs: drawn.
        far: false accept rate.
        limit: most impostor pairs that were to be drawn.
        which: of the faces, for the message, such as `uncovered`.

    Raises:
        EvaluationError: there is no genuine pair, or there are too few impostor pairs.
    """
    genuine, count = int(pairs.issame.sum()), int((~pairs.issame).sum())
    of = f"{faces.name}{which and f' ({which})'}"
    if not genuine:
        raise EvaluationError(
            f"{of} has no genuine pair: nobody has two such photographs. Add photographs of the same people."
        )
    if far * count + 1e-6 < 1:
        wanted = amount(round(1 / far), "impostor pair")
        remedy = f"Give --impostors {round(1 / far)}" if count >= limit else "Give more faces or people"
        raise EvaluationError(
            f"{of} has {amount(count, 'impostor pair')}; FAR {far:g} needs {wanted}. {remedy}, or a larger --far."
        )


def _endings() -> str:
    *most, last = COVERED_ENDINGS
    return f"{', '.join(most)} or {last}"
