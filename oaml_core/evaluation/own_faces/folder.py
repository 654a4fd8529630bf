"""A folder of one's own identities: every image with every other, and searches in a gallery.

All pairs of different images are compared by the global, the local and the combined score. The combined score is
normalised as on a verification set, with mean and deviation of a balanced draw of genuine and impostor pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.config import EvaluateConfig
from oaml_core.evaluation.scoring.combine import combined_rule
from oaml_core.evaluation.scoring.face_store import SCORE_NAMES, FaceStore, ScoreName
from oaml_core.evaluation.statistics.all_pairs import (
    LARGEST_FAR,
    AllPairsRoc,
    BlockScores,
    PairStream,
    upper_blocks,
)
from oaml_core.evaluation.statistics.binned import Scores32
from oaml_core.evaluation.statistics.identification import (
    Searches,
    SearchOutcome,
    enrol_first,
    outcome_of,
    probes_at_once,
    search,
)
from oaml_core.evaluation.statistics.protocols import ten_fold_any_range
from oaml_core.evaluation.statistics.roc import thinned
from oaml_core.evaluation.statistics.seed import SEED
from oaml_core.evaluation.verdict.metrics_json import roc_points
from oaml_core.inference.combining import CombinedRule
from oaml_core.progress import progress

BLOCK = 256
"""Faces on each side of a block of scores."""
NORMALISING_PAIRS = 2_000
"""Pairs at most that the normalisation of the combined score is taken from, half of them genuine."""


@dataclass(frozen=True)
class FolderResult:
    """The figures of all pairs of a folder."""

    names: list[str]
    """Names of the images."""
    identities: NDArray[np.int64]
    """[n], who each image shows."""
    rule: CombinedRule
    all_pairs: dict[ScoreName, AllPairsRoc]
    identification: dict[ScoreName, SearchOutcome]
    """First image of every identity enrolled, all others searched."""
    matrices: dict[ScoreName, Scores32] | None
    """[n, n] each; None: too many images, see `evaluate.matrix_images`."""

    def as_json(self) -> dict[str, Any]:
        """Return the content of `folder` in `metrics.json`: numbers and null."""
        return {
            "images": len(self.names),
            "identities": int(np.unique(self.identities).size),
            "combined": self.rule.as_json(),
            "scores": {name: self._score(name) for name in self.all_pairs},
        }

    def _score(self, name: ScoreName) -> dict[str, Any]:
        found = self.all_pairs[name]
        return {
            "genuine": found.genuine,
            "impostors": found.impostors,
            "tar_at_far": [
                {**asdict(point), "measurable": point.measurable, "error": error, "interval": interval}
                for point, error, interval in zip(found.tar_at_far, found.tar_errors, found.tar_intervals, strict=True)
            ],
            "auc": asdict(found.auc),
            "eer": asdict(found.eer),
            "roc": roc_points(thinned(found.roc)),
            "histogram": found.histogram,
            "identification": asdict(self.identification[name]),
        }


class BlockPairs:
    """Scores of pairs as blocks bring them: one stream per score, and all of them where matrices are wanted.

    Args:
        identities: [n], who each image shows.
        config: rates, and up to how many images matrices are kept.

    Raises:
        EvaluationError: there are no genuine or no impostor pairs.
    """

    def __init__(self, identities: NDArray[np.int64], config: EvaluateConfig) -> None:
        rates = [rate for rate in config.far if rate <= LARGEST_FAR] or [LARGEST_FAR]
        self.streams = {
            name: PairStream.of(identities, rates, intervals=True, exact_far=config.exact_far) for name in SCORE_NAMES
        }
        count = len(identities)
        self.blocks = list(upper_blocks(count, BLOCK))
        """Rows and columns of all blocks."""
        self.matrices: dict[ScoreName, Scores32] | None = None
        """[n, n] each; None: too many images."""
        if count <= config.matrix_images:
            self.matrices = {name: np.empty((count, count), np.float32) for name in SCORE_NAMES}

    def compare(self, faces: FaceStore, rule: CombinedRule, blocks: slice) -> None:
        """Compare the faces of some blocks.

        Raises:
            EvaluationError: a score is not finite.
        """
        chosen = self.blocks[blocks]
        for rows, columns in progress(chosen, len(chosen), "all pairs"):
            for name, scores in faces.block(rows, columns, SCORE_NAMES, rule).items():
                self.streams[name].add(scores, rows, columns)
                self._keep(name, scores, rows, columns)

    def _keep(self, name: ScoreName, scores: Scores32, rows: slice, columns: slice) -> None:
        if self.matrices is not None:
            self.matrices[name][rows, columns] = scores
            if rows != columns:
                self.matrices[name][columns, rows] = scores.T

    def arrays(self, blocks: slice) -> dict[str, NDArray[Any]]:
        """Return what `compare` found of these blocks, for `take_in`."""
        found = {
            f"{name}/{what}": array for name, stream in self.streams.items() for what, array in stream.arrays().items()
        }
        if self.matrices is not None:
            for name, matrix in self.matrices.items():
                scores = [matrix[rows, columns].ravel() for rows, columns in self.blocks[blocks]]
                found[f"{name}/scores"] = np.concatenate([np.empty(0, np.float32), *scores])
        return found

    def take_in(self, arrays: Mapping[str, NDArray[Any]], blocks: slice) -> None:
        """Take in what another process found of these blocks, which follow those that are here.

        Raises:
            KeyError, ValueError, IndexError: an array is missing, or of another form.
        """
        for name, stream in self.streams.items():
            stream.take_in({what.removeprefix(f"{name}/"): array for what, array in arrays.items()})
        for name in self.matrices or ():
            scores, start = arrays[f"{name}/scores"], 0
            for rows, columns in self.blocks[blocks]:
                shape = rows.stop - rows.start, columns.stop - columns.start
                self._keep(name, scores[start : start + shape[0] * shape[1]].reshape(shape), rows, columns)
                start += shape[0] * shape[1]


class FolderSearches:
    """Searches for all images but the first one of everybody, among those.

    Args:
        identities: [n], who each image shows.

    Raises:
        EvaluationError: nobody can be searched for.
    """

    def __init__(self, identities: NDArray[np.int64]) -> None:
        self._gallery, self._probes = enrol_first(identities)
        self._people = identities[self._probes], identities[self._gallery]

    def __len__(self) -> int:
        return len(self._probes)

    @property
    def unit(self) -> int:
        """Searches that one process makes together: those of a unit, to the last bit, depend on no other unit."""
        return min(BLOCK, probes_at_once(len(self._gallery), BLOCK))

    def search(self, faces: FaceStore, rule: CombinedRule, rows: slice) -> dict[ScoreName, Searches]:
        """Search for some probes; `rows` are whole units."""

        def scores_by(name: ScoreName) -> BlockScores:
            def scores(rows: slice, columns: slice) -> Scores32:
                found = np.empty((rows.stop - rows.start, columns.stop - columns.start), np.float32)
                probes, gallery = self._probes[rows], self._gallery[columns]
                for top, left in np.ndindex(-(-found.shape[0] // BLOCK), -(-found.shape[1] // BLOCK)):
                    some, others = slice(top * BLOCK, (top + 1) * BLOCK), slice(left * BLOCK, (left + 1) * BLOCK)
                    found[some, others] = faces.block(probes[some], gallery[others], [name], rule)[name]
                return found

            return scores

        return {name: search(scores_by(name), *self._people, rows, BLOCK) for name in SCORE_NAMES}

    def outcomes(self, found: Mapping[ScoreName, Searches]) -> dict[ScoreName, SearchOutcome]:
        """Return the rates of all searches."""
        return {name: outcome_of(searches, *self._people) for name, searches in found.items()}


def evaluate_folder(
    faces: FaceStore, names: Sequence[str], identities: NDArray[np.int64], config: EvaluateConfig
) -> FolderResult:
    """Compare every image with every other, and search all but the first image of every identity among those.

    Args:
        faces: features of n images.
        names: [n], of the images.
        identities: [n], who each image shows.
        config: rates, weights, and up to how many images matrices are kept.

    Raises:
        EvaluationError: there are no genuine or no impostor pairs, or a score is not finite.
    """
    pairs = BlockPairs(identities, config)
    rule = normalising_rule(faces, identities, config)
    pairs.compare(faces, rule, slice(0, len(pairs.blocks)))
    searches = FolderSearches(identities)
    return folder_result(names, identities, rule, pairs, searches.search(faces, rule, slice(0, len(searches))))


def folder_result(
    names: Sequence[str],
    identities: NDArray[np.int64],
    rule: CombinedRule,
    pairs: BlockPairs,
    searches: Mapping[ScoreName, Searches],
) -> FolderResult:
    """Return the figures of a folder, of which all blocks were compared and all probes searched for."""
    found = {name: stream.finish() for name, stream in pairs.streams.items()}
    outcomes = FolderSearches(identities).outcomes(searches)
    return FolderResult(list(names), identities, rule, found, outcomes, pairs.matrices)


def normalising_rule(faces: FaceStore, identities: NDArray[np.int64], config: EvaluateConfig) -> CombinedRule:
    """Return the combined score's rule, by a balanced draw of pairs that is the same in every process."""
    first, second, same = balanced_pairs(identities, NORMALISING_PAIRS, np.random.default_rng(SEED))
    scores = faces.pair_scores(first, second)
    return combined_rule(scores, ten_fold_any_range(scores.local_score, same).accuracy, config)


def balanced_pairs(
    identities: NDArray[np.int64], count: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Draw equally many genuine and impostor pairs of different images, at most `count` altogether, in random order.

    Args:
        identities: [n]; at least one has two images, and there are at least two.
        count: pairs at most.
        generator: of the draw.

    Returns:
        First and second image of each pair, and whether it is genuine.
    """
    order = generator.permutation(len(identities))
    order = order[np.argsort(identities[order], kind="stable")]
    neighbours = np.flatnonzero(np.diff(identities[order]) == 0)
    genuine = generator.permutation(neighbours)[: count // 2]
    first, second = [order[genuine]], [order[genuine + 1]]
    wanted = len(genuine)
    while wanted:
        a, b = generator.integers(len(identities), size=(2, 2 * wanted))
        others = np.flatnonzero(identities[a] != identities[b])[:wanted]
        first.append(a[others])
        second.append(b[others])
        wanted -= len(others)
    a, b = np.concatenate(first), np.concatenate(second)
    mixed = generator.permutation(len(a))
    return a[mixed], b[mixed], (identities[a] == identities[b])[mixed]
