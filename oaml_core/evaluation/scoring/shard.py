"""Shards of an evaluation: the same share of every set, so that processes may score them side by side."""

from __future__ import annotations

import re
from dataclasses import dataclass

from oaml_core.errors import ConfigError

CHUNK = 4096
"""Pairs that share what is known of their images. Batches and kept features begin anew with each chunk, so that the
scores of a chunk, to the last bit, depend on no other chunk: shards of an evaluation are whole chunks."""
NUMBER_AND_COUNT = re.compile(r"(\d{1,6})/(\d{1,6})")


@dataclass(frozen=True)
class EvaluationShard:
    """One of several shards of an evaluation."""

    number: int
    """Number of the shard, from 0."""
    of: int
    """Number of shards."""

    def __post_init__(self) -> None:
        if self.of < 1:
            raise ConfigError(f"The number of shards is {self.of}; it must be 1 or more.")
        if not 0 <= self.number < self.of:
            last = self.of - 1
            raise ConfigError(f"There is no shard {self}: they are numbered 0/{self.of} … {last}/{self.of}.")

    @classmethod
    def parse(cls, text: str) -> EvaluationShard:
        """Return the shard that `2/7` names, the third of seven.

        Raises:
            ConfigError: it names none.
        """
        found = NUMBER_AND_COUNT.fullmatch(text)
        if found is None:
            raise ConfigError(f"{text!r} names no shard. Give number and count, such as 0/7 … 6/7.")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def all(cls, of: int) -> list[EvaluationShard]:
        """Return all of so many shards; raises ConfigError for a number below 1."""
        first = cls(0, of)
        return [first, *(cls(number, of) for number in range(1, of))]

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def pairs(self, count: int) -> slice:
        """Return its share of `count` pairs."""
        return self.rows(count, CHUNK)

    def rows(self, count: int, chunk: int) -> slice:
        """Return its share of `count` rows: whole chunks of `chunk` rows, as many as the others have, or one more."""
        chunks = -(-count // chunk)
        start, stop = (chunks * edge // self.of * chunk for edge in (self.number, self.number + 1))
        return slice(min(start, count), min(stop, count))


def batches_of(count: int, step: int) -> list[slice]:
    """Cut `count` pairs into batches of at most `step`, none of which reaches over the end of a chunk."""
    return [
        slice(start, min(start + step, chunk + CHUNK, count))
        for chunk in range(0, count, CHUNK)
        for start in range(chunk, min(chunk + CHUNK, count), step)
    ]


def begins_chunk(batch: slice) -> bool:
    """Return True if a chunk begins with this batch of pairs."""
    return int(batch.start) % CHUNK == 0
