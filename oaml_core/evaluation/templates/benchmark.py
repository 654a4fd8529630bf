"""Measure a model on the templates of IJB-B or IJB-C: pairs (1:1) and searches (1:N)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.data.sources.repeated_pairs import find_repeats
from oaml_core.errors import DataError, EvaluationError
from oaml_core.evaluation.statistics.roc import auc, roc, tar_at_far
from oaml_core.evaluation.templates.lists import TemplateLists, read_pairs
from oaml_core.evaluation.templates.pooling import DescribedRows, describe, pool
from oaml_core.evaluation.templates.protocols import Search, mated_probes, nearest_tar, search_open, search_published
from oaml_core.evaluation.templates.rosters import Floats, Roster
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


def run_templates(
    model: Comparer, lists: TemplateLists, described: Iterable[DescribedRows] | None = None
) -> TemplateFigures:
    """Pool the templates, then compare the pairs and search the galleries that the lists name.

    Args:
        model: describes faces; its global score alone compares templates.
        lists: of one data set.
        described: all images in the order of the list, where they are described; None: the model describes them.

    Raises:
        DataError: a list is damaged. ModelInputError: an image is. EvaluationError: the lists have one kind of pairs.
    """
    notes: list[str] = [*lists.notes]
    if lists.detection is None:
        notes.append("no detector's scores: images of one medium count alike")
    # Lists are judged before images are described, which takes hours.
    compared = None if lists.pairs is None else _compared(lists, notes)
    for gallery in lists.galleries:
        assert lists.probes is not None
        mated_probes(lists.probes.subjects, gallery.subjects)
    templates = pool(lists, describe(model, lists) if described is None else described)
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
        None if compared is None else _pair_rates(templates, compared),
        published,
        open_set,
        tuple(notes),
    )


@dataclass(frozen=True)
class _ComparedTemplates:
    """Rows [N] of both templates of each pair, and whether they show one person."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    same: NDArray[np.bool_]


def _compared(lists: TemplateLists, notes: list[str]) -> _ComparedTemplates:
    """Read the list of pairs, and note what is odd about it.

    Raises:
        DataError: it is damaged. EvaluationError: it has no pair, or pairs of one kind alone.
    """
    assert lists.pairs is not None
    blocks = list(read_pairs(lists.pairs, lists.ids, lists.subjects))
    if not blocks:
        raise EvaluationError(f"{lists.pairs} names no pair.")
    found = _ComparedTemplates(*(np.concatenate(part) for part in zip(*blocks, strict=True)))
    if found.same.all() or not found.same.any():
        kind = "of one person" if found.same.all() else "of two people"
        raise EvaluationError(f"All pairs of {lists.pairs} are {kind}; rates need both kinds. Is it cut off?")
    notes += _repeated(lists, found)
    return found


def _pair_rates(templates: Floats, compared: _ComparedTemplates) -> PairRates:
    scores = np.empty(len(compared.same), dtype=np.float32)
    for start in range(0, len(scores), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        scores[rows] = np.einsum("ij,ij->i", templates[compared.first[rows]], templates[compared.second[rows]])
    curve = roc(scores, compared.same)
    return PairRates(
        curve.genuine,
        curve.impostors,
        dict(zip(FARS, nearest_tar(curve, FARS), strict=True)),
        {point.far: point.tar for point in tar_at_far(curve, FARS)},
        auc(curve),
    )


def _repeated(lists: TemplateLists, compared: _ComparedTemplates) -> list[str]:
    """Say which pairs are listed again; they count as listed, as in published figures.

    Raises:
        DataError: a pair is genuine and impostor.
    """
    left, right = compared.first.astype(np.int64), compared.second.astype(np.int64)
    repeats = find_repeats(left, right)
    if not repeats.again.size:
        return []
    if (other := repeats.contradicting(compared.same)) is not None:
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
