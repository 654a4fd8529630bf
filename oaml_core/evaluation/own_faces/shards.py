"""All pairs of a folder by shards: each describes, compares and searches its share, and one process merges.

A shard is a run of whole blocks, in the order in which one process compares them. It keeps what `PairStream` collects:
all genuine scores, counts of the others by bins, and the highest of these.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.config import EvaluateConfig
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.own_faces.descriptions import Descriptions
from oaml_core.evaluation.own_faces.folder import (
    BlockPairs,
    FolderResult,
    FolderSearches,
    folder_result,
    normalising_rule,
)
from oaml_core.evaluation.scoring.face_store import SCORE_NAMES, FaceStore, ScoreName
from oaml_core.evaluation.scoring.shard import EvaluationShard
from oaml_core.evaluation.scoring.shard_parts import ShardPart, ShardParts
from oaml_core.evaluation.statistics.identification import Searches
from oaml_core.inference.combining import CombinedRule, Normalisation

PAIRS, SEARCHES = "all-pairs", "searches"
"""Names of a shard's parts."""
AND = ", "
"""Between the names of devices."""


class Share(NamedTuple):
    """A shard's share of the work."""

    images: slice
    """Images that it describes, as far as no other process has."""
    blocks: slice
    """Range of `BlockPairs.blocks`."""
    probes: slice

    def __str__(self) -> str:
        images, blocks, probes = (part.stop - part.start for part in self)
        told = amount(blocks, "block"), amount(probes, "search", "searches")
        return f"{amount(images, 'image')} to describe, {told[0]} of pairs, {told[1]}"


class SharedFolder:
    """All pairs of a folder and its searches, shared out.

    Args:
        room: opens room for the features of all images.
        descriptions: features of the images.
        names: [n], of the images.
        identities: [n], who each image shows.
        config: as of `evaluate_folder`.
        parts: of the shards, as the store has them.
        device: name of the device that compares.

    Raises:
        EvaluationError: there are no genuine or no impostor pairs.
    """

    def __init__(
        self,
        room: Callable[[], AbstractContextManager[FaceStore]],
        descriptions: Descriptions,
        names: Sequence[str],
        identities: NDArray[np.int64],
        config: EvaluateConfig,
        parts: ShardParts,
        device: str,
    ) -> None:
        self._room, self._descriptions, self._names, self._identities = room, descriptions, names, identities
        self.parts = parts
        self._config, self._device = config, device
        self._searches = FolderSearches(identities)

    def share(self, shard: EvaluationShard) -> Share:
        """Return the share of a shard."""
        blocks = shard.rows(len(self._pairs().blocks), 1)
        return Share(self._descriptions.rows(shard), blocks, shard.rows(len(self._searches), self._searches.unit))

    def make(self, shards: Sequence[EvaluationShard]) -> bool:
        """Make those parts of shards that are missing.

        Returns:
            True if there was one.

        Raises:
            EvaluationError: a score is not finite, or a description of another process is not as it should be.
        """
        missing = [shard for shard in shards if not all(self.parts.has(name, shard) for name in (PAIRS, SEARCHES))]
        if missing:
            with self._room() as faces:
                devices = self._descriptions.fill(faces, missing) | {self._device}
                rule = normalising_rule(faces, self._identities, self._config)
                for shard in missing:
                    self._make(faces, rule, shard, AND.join(sorted(devices)))
        return bool(missing)

    def _make(self, faces: FaceStore, rule: CombinedRule, shard: EvaluationShard, devices: str) -> None:
        share = self.share(shard)
        if not self.parts.has(PAIRS, shard):
            began, pairs = time.perf_counter(), self._pairs()
            pairs.compare(faces, rule, share.blocks)
            arrays = pairs.arrays(share.blocks) | {"rule": _numbers_of(rule)}
            self.parts.write(PAIRS, shard, ShardPart(arrays, share.blocks, time.perf_counter() - began, devices))
        if not self.parts.has(SEARCHES, shard):
            began, found = time.perf_counter(), self._searches.search(faces, rule, share.probes)
            arrays = {f"{name}/{what}": array for name, each in found.items() for what, array in each._asdict().items()}
            self.parts.write(SEARCHES, shard, ShardPart(arrays, share.probes, time.perf_counter() - began, devices))

    def result(self, *, make_missing: bool) -> tuple[FolderResult, set[str]]:
        """Return the figures of all shards together, and the devices that described and compared.

        Args:
            make_missing: make the shards that are missing first.

        Raises:
            EvaluationError: a part is missing, damaged or of something else.
        """
        if make_missing:
            self.make(EvaluationShard.all(self.parts.of))
        self.parts.require([PAIRS, SEARCHES])
        pairs, devices = self._pairs(), set[str]()
        rule: CombinedRule | None = None
        found: dict[ScoreName, list[Searches]] = {name: [] for name in SCORE_NAMES}
        for shard in EvaluationShard.all(self.parts.of):
            share = self.share(shard)
            compared = self.parts.read(PAIRS, shard, share.blocks)
            searched = self.parts.read(SEARCHES, shard, share.probes)
            devices |= {*compared.device.split(AND), *searched.device.split(AND)}
            try:
                pairs.take_in(compared.arrays, share.blocks)
                rule = rule or _rule_of(compared.arrays["rule"])
            except (KeyError, ValueError, IndexError, TypeError):
                raise self._damaged(PAIRS, shard) from None
            for name in SCORE_NAMES:
                found[name].append(self._searches_in(searched.arrays, name, share.probes, shard))
        assert rule is not None
        joined = {name: Searches(*map(np.concatenate, zip(*each, strict=True))) for name, each in found.items()}
        try:
            return folder_result(self._names, self._identities, rule, pairs, joined), devices
        except ValueError:
            raise self._damaged(PAIRS, EvaluationShard(0, self.parts.of)) from None

    def _searches_in(
        self, arrays: Mapping[str, NDArray[Any]], name: ScoreName, probes: slice, shard: EvaluationShard
    ) -> Searches:
        count = probes.stop - probes.start
        columns = [arrays.get(f"{name}/{what}") for what in Searches._fields]
        if any(column is None or column.shape != (count,) for column in columns):
            raise self._damaged(SEARCHES, shard)
        return Searches(*columns)  # type: ignore[arg-type]

    def _damaged(self, name: str, shard: EvaluationShard) -> EvaluationError:
        where = self.parts.store.url(self.parts.key(name, shard))
        return EvaluationError(f"{where} lacks scores of its pairs. {self.parts.remedy(shard)}")

    def _pairs(self) -> BlockPairs:
        return BlockPairs(self._identities, self._config)


def _numbers_of(rule: CombinedRule) -> NDArray[np.float64]:
    """Return what `_rule_of` makes the rule of."""
    known = rule.normalisation
    return np.array(
        [
            known.global_mean,
            known.global_std,
            known.local_mean,
            known.local_std,
            rule.global_weight,
            rule.local_weight,
            rule.fallback,
        ]
    )


def _rule_of(numbers: NDArray[np.float64]) -> CombinedRule:
    *known, global_weight, local_weight, fallback = map(float, numbers)
    return CombinedRule(Normalisation(*known), global_weight, local_weight, fallback=bool(fallback))
