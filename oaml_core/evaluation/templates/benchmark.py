"""Measure a model on the templates of IJB-B or IJB-C: pairs (1:1) and searches (1:N)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.data.sources.repeated_pairs import find_repeats
from oaml_core.errors import DataError, EvaluationError
from oaml_core.evaluation.statistics.roc import auc, roc, tar_at_far
from oaml_core.evaluation.templates.lists import Floats, TemplateLists, read_pairs
from oaml_core.evaluation.templates.pooling import pool
from oaml_core.evaluation.templates.protocols import Search, nearest_tar, search_open, search_published
from oaml_core.evaluation.templates.rosters import Roster
from oaml_core.inference.comparer import Comparer

FARS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
FPIRS = (0.01, 0.1)
ROWS_AT_ONCE = 16_384
"""Pairs whose embeddings are multiplied at a time: 2 × 32 MiB at 512 numbers each."""


@dataclass(frozen=True)
class PairRates:
    """Rates of 1:1 verification of templates."""

    genuine: int
    impostors: int
    published: dict[float, float]
    """TAR at the point of the ROC that is nearest to each FAR."""
    exact: dict[float, float | None]
    """TAR at the loosest threshold whose FAR does not exceed the rate; None: too few pairs measure it."""
    auc: float


@dataclass(frozen=True)
class TemplateFigures:
    """One model on one data set."""

    name: str
    images: int
    templates: int
    aligned_here: bool
    """True where faces were cut out by the lists' points."""
    pairs: PairRates | None
    published: Search | None
    """1:N, all galleries as one."""
    open_set: dict[str, Search]
    """1:N, by gallery, and their means as `mean`."""
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the content of `templates.json`."""
        return asdict(self)


def run_templates(model: Comparer, lists: TemplateLists) -> TemplateFigures:
    """Pool the templates, then compare the pairs and search the galleries that the lists name.

    Args:
        model: describes faces; its global score alone compares templates.
        lists: of one data set.

    Raises:
        DataError: a list is damaged. ModelInputError: an image is. EvaluationError: the lists have one kind of pairs.
    """
    templates = pool(model, lists)
    notes: list[str] = [] if lists.detection is not None else ["no detector's scores: images of one medium count alike"]
    published, open_set = None, {}
    if lists.probes is not None:
        try:
            published = _search_together(templates, lists.probes, lists.galleries)
        except EvaluationError as error:
            notes.append(str(error))
        open_set = _search_apart(templates, lists.probes, lists.galleries)
    return TemplateFigures(
        lists.name,
        len(lists.names),
        len(lists.ids),
        lists.points is not None,
        None if lists.pairs is None else _pair_rates(templates, lists, notes),
        published,
        open_set,
        tuple(notes),
    )


def _pair_rates(templates: Floats, lists: TemplateLists, notes: list[str]) -> PairRates:
    assert lists.pairs is not None
    scores: list[Floats] = []
    compared: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []
    truth: list[NDArray[np.bool_]] = []
    for first, second, same in read_pairs(lists.pairs, lists.ids, lists.subjects):
        found = np.empty(len(first), dtype=np.float32)
        for start in range(0, len(first), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            found[rows] = np.einsum("ij,ij->i", templates[first[rows]], templates[second[rows]])
        scores.append(found)
        truth.append(same)
        compared.append((first, second))
    if not scores:
        raise EvaluationError(f"{lists.pairs} names no pair.")
    issame = np.concatenate(truth)
    notes += _repeated(lists, compared, issame)
    curve = roc(np.concatenate(scores), issame)
    return PairRates(
        curve.genuine,
        curve.impostors,
        dict(zip(FARS, nearest_tar(curve, FARS), strict=True)),
        {point.far: point.tar for point in tar_at_far(curve, FARS)},
        auc(curve),
    )


def _repeated(
    lists: TemplateLists, compared: list[tuple[NDArray[np.int32], NDArray[np.int32]]], issame: NDArray[np.bool_]
) -> list[str]:
    """Say which pairs are listed again; they count as listed, as in published figures.

    Raises:
        DataError: a pair is genuine and impostor.
    """
    left, right = (np.concatenate(side).astype(np.int64) for side in zip(*compared, strict=True))
    repeats = find_repeats(left, right)
    if not repeats.again.size:
        return []
    if (other := repeats.contradicting(issame)) is not None:
        one, two = (int(lists.ids[side[other[0]]]) for side in (left, right))
        raise DataError(
            f"{lists.pairs} lists the pair {one} {two} once as one person and once as two. Remove the wrong line."
        )
    one, two = (int(lists.ids[side[repeats.again[0]]]) for side in (left, right))
    return [f"{amount(len(repeats.again), 'pair')} listed again, the first is {one} {two}: each counts as listed"]


def _search_together(templates: Floats, probes: Roster, galleries: Sequence[Roster]) -> Search:
    rows = np.concatenate([gallery.templates for gallery in galleries])
    subjects = np.concatenate([gallery.subjects for gallery in galleries])
    return search_published(templates[probes.templates], probes.subjects, templates[rows], subjects, FPIRS)


def _search_apart(templates: Floats, probes: Roster, galleries: Sequence[Roster]) -> dict[str, Search]:
    found = {
        gallery.file.stem.rpartition("_")[2]: search_open(
            templates[probes.templates], probes.subjects, templates[gallery.templates], gallery.subjects, FPIRS
        )
        for gallery in galleries
    }
    return {**found, "mean": _mean(list(found.values()))} if len(found) > 1 else found


def _mean(searches: Sequence[Search]) -> Search:
    tpir: dict[float, float | None] = {}
    for fpir in FPIRS:
        rates = [rate for one in searches if (rate := one.tpir[fpir]) is not None]
        tpir[fpir] = float(np.mean(rates)) if len(rates) == len(searches) else None
    return Search(
        {k: float(np.mean([one.rank[k] for one in searches])) for k in searches[0].rank},
        tpir,
        *(sum(getattr(one, part) for one in searches) for part in ("probes", "strangers", "gallery")),
    )
