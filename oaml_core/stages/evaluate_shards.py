"""An evaluation by several processes: each scores the pairs of one shard, and `evaluate` merges what they found."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oaml_core.amounts import amount
from oaml_core.config import Config
from oaml_core.errors import ConfigError
from oaml_core.kept_memory import keep_freed_memory
from oaml_core.stages.addresses import announce
from oaml_core.stages.costs import costing
from oaml_core.stages.evaluation_inputs import EvaluationInputs, OpenedInputs, best_device, device_name
from oaml_core.structured_text import parse_json

if TYPE_CHECKING:
    from oaml_core.data.prepared.verification import VerificationSet
    from oaml_core.evaluation.scoring.score_parts import ScoredSet
    from oaml_core.evaluation.scoring.shard import EvaluationShard
    from oaml_core.evaluation.scoring.shard_parts import ShardParts

log = logging.getLogger(__name__)

ORDER = {"shard": str, "dataset": str, "checkpoint": str}


def plan_evaluation(config: Config, dataset_uri: str, checkpoint_uri: str, shards: int) -> list[str]:
    """Share an evaluation out among `shards` processes, each of which calls `evaluate_by_order`.

    Args:
        config: as of `evaluate`.
        dataset_uri: data set with the pairs.
        checkpoint_uri: file or address in the store.
        shards: number of processes.

    Returns:
        Orders, texts that hold all that a process must know; a single one where the evaluation is in the store.

    Raises:
        ConfigError: the number is below 1.
    """
    from oaml_core.evaluation.scoring.shard import EvaluationShard

    inputs = EvaluationInputs(config, dataset_uri, checkpoint_uri)
    chosen = EvaluationShard.all(shards)
    reused = inputs.is_current()
    announce("plan-evaluation", amount(shards, "shard"), inputs.store.url(inputs.prefix), reused)
    return [
        json.dumps({"shard": str(shard), "dataset": dataset_uri, "checkpoint": checkpoint_uri})
        for shard in (chosen[:1] if reused else chosen)
    ]


def evaluate_by_order(config: Config, order: str) -> bool:
    """Score the pairs of the shard that an order of `plan_evaluation` names; see `evaluate_shard`."""
    told = _read(order)
    return evaluate_shard(config, told["dataset"], told["checkpoint"], told["shard"])


def shards_of(orders: Sequence[str]) -> int | None:
    """Return the number of shards that orders of `plan_evaluation` were given for; None without orders."""
    from oaml_core.evaluation.scoring.shard import EvaluationShard

    return EvaluationShard.parse(_read(orders[0])["shard"]).of if orders else None


def _read(order: str) -> dict[str, str]:
    return parse_json(order, f"The order {order[:100]!r}", "plan_evaluation gives orders.", ConfigError, ORDER)


def evaluate_shard(config: Config, dataset_uri: str, checkpoint_uri: str, shard: str) -> bool:
    """Score the pairs of one shard of every set, unless that was done before.

    Each set's scores go into the store when they are complete: a shard that is begun again goes on with the next set.

    Args:
        config: as of `evaluate`.
        dataset_uri: data set with the pairs.
        checkpoint_uri: file or address in the store.
        shard: number and count, `0/3` to `2/3`.

    Returns:
        True if pairs were scored now.

    Raises:
        ConfigError: it is no shard. CheckpointError: the model cannot be read.
    """
    from oaml_core.evaluation.scoring.shard import EvaluationShard

    keep_freed_memory()
    chosen = EvaluationShard.parse(shard)
    inputs = EvaluationInputs(config, dataset_uri, checkpoint_uri)
    made = False
    if not inputs.is_current():
        with costing(config, "evaluate-shard", inputs.run, gpus=int(best_device() == "cuda")):
            made = _shared_out(inputs.open(), inputs.parts(chosen.of)).score(chosen)
    announce("evaluate-shard", f"shard {shard}", inputs.store.url(inputs.parts(chosen.of).prefix), not made)
    return made


def _shared_out(opened: OpenedInputs, parts: ShardParts) -> SharedScoring:
    from oaml_core.evaluation.verdict.evaluate import conditions_for, score_set

    conditions = conditions_for(opened.config)

    def score(pairs: VerificationSet, rows: slice) -> ScoredSet:
        return score_set(
            opened.trained.recogniser,
            pairs,
            conditions,
            opened.config,
            opened.device,
            strangers=opened.strangers,
            rows=rows,
        )

    return SharedScoring(opened.dataset.verification, [each.name for each in conditions], parts, score)


@dataclass(frozen=True)
class MergedScores:
    """Scores that all shards of an evaluation made together."""

    sets: Mapping[str, ScoredSet]
    """Scores of each set, by its name."""
    devices: str
    """Names of the devices that made them, with commas between them."""


@dataclass(frozen=True)
class SharedScoring:
    """Scoring of the pairs of all sets, shared out over shards."""

    sets: Mapping[str, VerificationSet]
    conditions: Sequence[str]
    """Names of the conditions that pairs are scored under."""
    parts: ShardParts
    """Scores of the shards, as the store has them."""
    score_rows: Callable[[VerificationSet, slice], ScoredSet]
    """Scores pairs of a set."""

    def score(self, shard: EvaluationShard) -> bool:
        """Score the shard's pairs of every set that has no part yet; return True if there was one."""
        from oaml_core.evaluation.scoring.score_parts import write_scored

        made = False
        for name, pairs in self.sets.items():
            if self.parts.has(name, shard):
                continue
            rows = shard.pairs(len(pairs))
            found = self.score_rows(pairs, rows)
            write_scored(self.parts, name, shard, found, rows, device_name())
            log.info("%s, shard %s: %d pairs in %.1f s", name, shard, rows.stop - rows.start, found.seconds)
            made = True
        return made

    def merged(self, *, only_merge: bool) -> MergedScores:
        """Return the scores of all pairs of all sets; shards that are missing are made first, unless `only_merge`.

        Raises:
            EvaluationError: a part is missing, or of something else.
        """
        from oaml_core.evaluation.scoring.score_parts import read_scored
        from oaml_core.evaluation.scoring.shard import EvaluationShard

        if only_merge:
            self.parts.require(self.sets)
        for shard in EvaluationShard.all(self.parts.of):
            self.score(shard)
        sets, devices = {}, set[str]()
        for name, pairs in self.sets.items():
            sets[name], made_on = read_scored(self.parts, name, self.conditions, len(pairs))
            devices.update(made_on)
        return MergedScores(sets, ", ".join(sorted(devices)))


def merged_scores(opened: OpenedInputs, parts: ShardParts, *, only_merge: bool) -> MergedScores:
    """Return the scores of all pairs of an evaluation of a checkpoint, as `SharedScoring.merged` does."""
    return _shared_out(opened, parts).merged(only_merge=only_merge)
