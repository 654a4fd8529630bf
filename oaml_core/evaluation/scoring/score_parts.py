"""Scores of pairs as parts of a shared evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oaml_core.errors import EvaluationError
from oaml_core.evaluation.scoring.scores import PairScores, join_scores
from oaml_core.evaluation.scoring.shard import EvaluationShard
from oaml_core.evaluation.scoring.shard_parts import ShardPart, ShardParts


class ScoredSet(NamedTuple):
    """Scores of all pairs of a set, by condition."""

    scores: dict[str, PairScores]
    seconds: float
    """Wall-clock time of scoring; of shards, the sum."""


def write_scored(parts: ShardParts, name: str, shard: EvaluationShard, found: ScoredSet, rows: slice, on: str) -> None:
    """Put the scores of a shard's pairs into the store.

    Args:
        parts: of the evaluation.
        name: of the set.
        shard: whose pairs were scored.
        found: their scores.
        rows: numbers of the pairs.
        on: name of the device that scored them.
    """
    arrays = {
        f"{condition}/{field}": column
        for condition, scores in found.scores.items()
        for field, column in scores._asdict().items()
        if column is not None
    }
    parts.write(name, shard, ShardPart(arrays, rows, found.seconds, on))


def read_scored(parts: ShardParts, name: str, conditions: Sequence[str], pairs: int) -> tuple[ScoredSet, set[str]]:
    """Return the scores of all pairs of a set, and the devices that scored them.

    Args:
        parts: of the evaluation.
        name: of the set.
        conditions: names of the conditions that it was scored under.
        pairs: in the set.

    Raises:
        EvaluationError: a part is of another model, of other settings or of another set. StoreError: it is missing or
            damaged.
    """
    found: dict[str, list[PairScores]] = {condition: [] for condition in conditions}
    seconds, devices = 0.0, set()
    for shard in EvaluationShard.all(parts.of):
        part = parts.read(name, shard, shard.pairs(pairs))
        count = part.rows.stop - part.rows.start
        for condition in conditions:
            scores = _scores(part.arrays, condition)
            if scores is None or len(scores.global_score) != count:
                where = parts.store.url(parts.key(name, shard))
                raise EvaluationError(f"{where} lacks scores of {condition} pairs. {parts.remedy(shard)}")
            if count:
                found[condition].append(scores)
        seconds += part.seconds
        devices.add(part.device)
    return ScoredSet({condition: join_scores(scores) for condition, scores in found.items()}, seconds), devices


def _scores(arrays: Mapping[str, NDArray[np.float64]], condition: str) -> PairScores | None:
    """Return the scores under a condition; None where a column is missing that there always is."""
    names = {f"{condition}/{field}": field for field in PairScores._fields}
    try:
        return PairScores(**{field: arrays[name] for name, field in names.items() if name in arrays})
    except TypeError:
        return None
