"""Results of shards, in the store until they are merged: one object per part and shard, with what it was made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from oaml_core.amounts import first_of
from oaml_core.data.prepare.shard_files import SHARDS
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.scoring.shard import EvaluationShard
from oaml_core.store.stored_arrays import read_arrays, write_arrays

if TYPE_CHECKING:
    from oaml_core.store import Store

NEEDED = {"made_by": dict, "rows": list, "seconds": float, "device": str}
"""Keys of what is said beside the arrays of a part."""


@dataclass(frozen=True)
class ShardPart:
    """Arrays that one shard found, and of which rows."""

    arrays: Mapping[str, NDArray[Any]]
    rows: slice
    """Rows of the whole that it found it of."""
    seconds: float
    """Wall-clock time that it took."""
    device: str
    """Name of the device that it was found on."""


@dataclass(frozen=True)
class ShardParts:
    """The parts of work that is shared out.

    Args:
        store: has them.
        work: name of the work, with the digest of all that it depends on.
        of: number of shards.
        made_by: what all parts must have in common, by names that error messages show.
        command: that makes and merges shards, for error messages.
    """

    store: Store
    work: str
    of: int
    made_by: Mapping[str, str]
    command: str

    @property
    def prefix(self) -> str:
        """Prefix of all parts in the store."""
        return f"{SHARDS}/{self.work}-{self.of}"

    @property
    def url(self) -> str:
        """Address of all parts."""
        return self.store.url(self.prefix)

    def key(self, name: str, shard: EvaluationShard) -> str:
        """Return the key of a shard's part `name`."""
        return f"{self.prefix}/{name}-{shard.number:05d}.npz"

    def has(self, name: str, shard: EvaluationShard) -> bool:
        """Return True if a shard's part `name` is there."""
        return self.store.exists(self.key(name, shard))

    def write(self, name: str, shard: EvaluationShard, part: ShardPart) -> None:
        """Put what a shard found into the store."""
        about = {
            "made_by": dict(self.made_by),
            "rows": [part.rows.start, part.rows.stop],
            "seconds": part.seconds,
            "device": part.device,
        }
        write_arrays(self.store, self.key(name, shard), part.arrays, about)

    def require(self, names: Iterable[str]) -> None:
        """Raise EvaluationError, naming objects and remedy, where a shard lacks one of these parts."""
        wanted = [(shard, name) for shard in EvaluationShard.all(self.of) for name in names]
        missing = [(shard, name) for shard, name in wanted if not self.has(name, shard)]
        if missing:
            shards = list(dict.fromkeys(shard for shard, _ in missing))
            options = first_of(f"--shard {shard}" for shard in shards)
            first = self.key(missing[0][1], missing[0][0])
            raise EvaluationError(
                f"{self.store.url(first)} is missing: {len(shards)} of {self.of} shards "
                f"are not complete. Run the same `{self.command}` with {options} first, or with --shards {self.of}, "
                "which makes them here."
            )

    def read(self, name: str, shard: EvaluationShard, rows: slice) -> ShardPart:
        """Return what a shard found of these rows.

        Raises:
            EvaluationError: it is of another model, of other settings or of other rows. StoreError: it is missing or
                damaged.
        """
        key, remedy = self.key(name, shard), self.remedy(shard)
        arrays, about = read_arrays(self.store, key, remedy, NEEDED)
        for what, ours in self.made_by.items():
            if (theirs := about["made_by"].get(what)) != ours:
                raise EvaluationError(f"{self.store.url(key)} was made with {what} {theirs}, not {ours}. {remedy}")
        if about["rows"] != [rows.start, rows.stop]:
            raise EvaluationError(
                f"{self.store.url(key)} is of the rows {about['rows']}, not [{rows.start}, {rows.stop}]. {remedy}"
            )
        return ShardPart(arrays, rows, about["seconds"], about["device"])

    def remedy(self, shard: EvaluationShard) -> str:
        """Return what to do about a part that is not as it should be."""
        return f"Delete it, and run the same `{self.command}` with --shard {shard} again."

    def remove(self) -> None:
        """Remove all parts."""
        for info in list(self.store.list(f"{self.prefix}/")):
            self.store.delete(info.key)
