"""Scores of the shards of an evaluation, in the store until they are merged: one object per set and shard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import first_of
from oaml_core.data.prepare.shard_files import SHARDS
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.scoring.scores import PairScores, join_scores
from oaml_core.evaluation.scoring.shard import EvaluationShard
from oaml_core.store.stored_arrays import read_arrays, write_arrays

if TYPE_CHECKING:
    from oaml_core.store import Store

ABOUT = {"made_by": dict, "rows": list, "seconds": float, "device": str}
"""Keys of what is said beside the arrays of a part."""


class ScoredSet(NamedTuple):
    """Scores of all pairs of a set, by condition."""

    scores: dict[str, PairScores]
    seconds: float
    """Wall-clock time of scoring; of shards, the sum."""


@dataclass(frozen=True)
class ScoreParts:
    """The parts of one evaluation, each with the scores of one shard's pairs of one set.

    Args:
        store: has them.
        evaluation: digest of model, pairs and settings.
        of: number of shards.
        made_by: what all parts must have in common, by names that error messages show.
    """

    store: Store
    evaluation: str
    of: int
    made_by: Mapping[str, str]

    @property
    def prefix(self) -> str:
        """Prefix of all parts in the store."""
        return f"{SHARDS}/evaluation-{self.evaluation}-{self.of}"

    def key(self, name: str, shard: EvaluationShard) -> str:
        """Return the key of a shard's part of the set `name`."""
        return f"{self.prefix}/{name}-{shard.number:05d}.npz"

    def write(self, name: str, shard: EvaluationShard, found: ScoredSet, pairs: int, device: str) -> None:
        """Put a shard's scores of a set of `pairs` pairs into the store.

        Args:
            name: of the set.
            shard: whose pairs were scored.
            found: scores of these pairs.
            pairs: in the whole set.
            device: that scored them.
        """
        arrays = {
            f"{condition}/{field}": column
            for condition, scores in found.scores.items()
            for field, column in scores._asdict().items()
            if column is not None
        }
        rows = shard.pairs(pairs)
        about = {
            "made_by": dict(self.made_by),
            "rows": [rows.start, rows.stop],
            "seconds": found.seconds,
            "device": device,
        }
        write_arrays(self.store, self.key(name, shard), arrays, about)

    def require(self, names: Iterable[str]) -> None:
        """Raise EvaluationError, naming objects and remedy, where parts of these sets are missing."""
        missing = [
            (shard, self.key(name, shard))
            for shard in EvaluationShard.all(self.of)
            for name in names
            if not self.store.exists(self.key(name, shard))
        ]
        if missing:
            shards = list(dict.fromkeys(str(shard) for shard, _ in missing))
            options = first_of(f"--shard {shard}" for shard in shards)
            raise EvaluationError(
                f"{self.store.url(missing[0][1])} is missing: {len(shards)} of {self.of} shards are not complete. Run "
                f"the same `oaml evaluate` with {options} first, or with --shards {self.of}, which makes them here."
            )

    def read(self, name: str, conditions: Sequence[str], pairs: int) -> tuple[ScoredSet, list[str]]:
        """Return the scores of all pairs of a set, and the devices that scored them.

        Args:
            name: of the set.
            conditions: names of the conditions that it was scored under.
            pairs: in the set.

        Raises:
            EvaluationError: a part is of another model, of other settings or of another set. StoreError: it is missing
                or damaged.
        """
        found: dict[str, list[PairScores]] = {condition: [] for condition in conditions}
        seconds, devices = 0.0, []
        for shard in EvaluationShard.all(self.of):
            key, rows = self.key(name, shard), shard.pairs(pairs)
            remedy = f"Delete it, and run the same `oaml evaluate` with --shard {shard} again."
            arrays, about = read_arrays(self.store, key, remedy, ABOUT)
            self._check(about, rows, self.store.url(key), remedy)
            for condition in conditions:
                scores = _scores(arrays, condition)
                if scores is None or len(scores.global_score) != rows.stop - rows.start:
                    raise EvaluationError(f"{self.store.url(key)} lacks scores of {condition} pairs. {remedy}")
                if rows.start < rows.stop:
                    found[condition].append(scores)
            seconds += about["seconds"]
            devices.append(about["device"])
        return ScoredSet({condition: join_scores(parts) for condition, parts in found.items()}, seconds), devices

    def _check(self, about: Mapping[str, Any], rows: slice, where: str, remedy: str) -> None:
        for what, ours in self.made_by.items():
            if (theirs := about["made_by"].get(what)) != ours:
                raise EvaluationError(f"{where} was made with {what} {theirs}, not {ours}. {remedy}")
        if about["rows"] != [rows.start, rows.stop]:
            start, stop = rows.start, rows.stop
            raise EvaluationError(f"{where} has the pairs {about['rows']}, not [{start}, {stop}]. {remedy}")

    def remove(self) -> None:
        """Remove all parts."""
        for info in list(self.store.list(f"{self.prefix}/")):
            self.store.delete(info.key)


def _scores(arrays: Mapping[str, NDArray[np.float64]], condition: str) -> PairScores | None:
    """Return the scores under a condition; None where a column is missing that there always is."""
    names = {f"{condition}/{field}": field for field in PairScores._fields}
    try:
        return PairScores(**{field: arrays[name] for name, field in names.items() if name in arrays})
    except TypeError:
        return None
