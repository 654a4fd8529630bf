"""A folder of one's own identities: every image with every other, and searches in a gallery.

All pairs of different images are compared by the global, the local and the combined score. The combined score is
normalised as on a verification set, with mean and deviation of a balanced draw of genuine and impostor pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from oaml_core.evaluation.statistics.identification import SearchOutcome, enrol_first, identify
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
    rates = [rate for rate in config.far if rate <= LARGEST_FAR] or [LARGEST_FAR]
    streams = {
        name: PairStream.of(identities, rates, intervals=True, exact_far=config.exact_far) for name in SCORE_NAMES
    }
    rule = _rule(faces, identities, config)
    count = len(identities)
    matrices: dict[ScoreName, Scores32] | None = None
    if count <= config.matrix_images:
        matrices = {name: np.empty((count, count), np.float32) for name in SCORE_NAMES}
    blocks = list(upper_blocks(count, BLOCK))
    for rows, columns in progress(blocks, len(blocks), "all pairs"):
        for name, scores in faces.block(rows, columns, SCORE_NAMES, rule).items():
            streams[name].add(scores, rows, columns)
            if matrices is not None:
                matrices[name][rows, columns] = scores
                if rows != columns:
                    matrices[name][columns, rows] = scores.T
    found = {name: stream.finish() for name, stream in streams.items()}
    return FolderResult(list(names), identities, rule, found, _identified(faces, identities, rule), matrices)


def _identified(faces: FaceStore, identities: NDArray[np.int64], rule: CombinedRule) -> dict[ScoreName, SearchOutcome]:
    gallery, probes = enrol_first(identities)

    def scores_by(name: ScoreName) -> BlockScores:
        def scores(rows: slice, columns: slice) -> Scores32:
            found = np.empty((rows.stop - rows.start, columns.stop - columns.start), np.float32)
            for top, left in np.ndindex(-(-found.shape[0] // BLOCK), -(-found.shape[1] // BLOCK)):
                some, others = slice(top * BLOCK, (top + 1) * BLOCK), slice(left * BLOCK, (left + 1) * BLOCK)
                found[some, others] = faces.block(probes[rows][some], gallery[columns][others], [name], rule)[name]
            return found

        return scores

    return {name: identify(scores_by(name), identities[probes], identities[gallery]) for name in SCORE_NAMES}


def _rule(faces: FaceStore, identities: NDArray[np.int64], config: EvaluateConfig) -> CombinedRule:
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
