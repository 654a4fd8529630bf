"""A measured model → whether it may take the place of the one in production."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oaml_core.config import Config
from oaml_core.errors import EvaluationError, StoreError
from oaml_core.stages.addresses import fetch_scores, prefix_of
from oaml_core.stages.costs import costing
from oaml_core.stages.production import PRODUCTION, champion
from oaml_core.store import open_store

if TYPE_CHECKING:
    from oaml_core.evaluation.verdict.gate import GateDecision

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """Result of `gate`."""

    passes: bool
    reason: str
    summary: str
    """Markdown: the decision, and each gated set and condition."""


def gate(config: Config, metrics_uri: str) -> Judged:
    """Say whether the model that `metrics_uri` describes would be promoted now. Nothing is changed.

    `promote` decides anew, by the model that is in production then.
    """
    with costing(config, "gate", prefix_of(config, metrics_uri)):
        present = champion(open_store(config.store))
        if present is None:
            return _said(True, "there is no model in production yet", [])
        if present["metrics_uri"] == metrics_uri:
            return _said(True, "nothing new: it is the one that is in production", [])
        decision = challenge(config, present, metrics_uri)
        return _said(decision.passes, decision.reason, _table(decision))


def challenge(config: Config, present: Mapping[str, Any], metrics_uri: str) -> GateDecision:
    """Challenger against champion, by their stored scores."""
    from oaml_core.evaluation.verdict.comparison import compare
    from oaml_core.evaluation.verdict.gate import GateDecision, decide

    try:
        theirs = fetch_scores(config, present["metrics_uri"])
    except (EvaluationError, StoreError) as error:
        return GateDecision(
            False,
            f"it cannot be compared with the champion, whose scores cannot be read: {error} Remove {PRODUCTION} from "
            "the store to begin anew",
            [],
        )
    compared = compare(theirs, fetch_scores(config, metrics_uri), scores=("combined",), name=present["version"])
    decision = decide(compared, config.promote)
    if decision.gated or decision.passes:
        return decision
    return GateDecision(
        False,
        f"{decision.reason}. Evaluate both with the same `evaluate` keys on the same data set, name what both have in "
        f"promote.sets and promote.conditions, or remove {PRODUCTION} from the store to begin anew",
        [],
    )


def _said(passes: bool, reason: str, table: list[str]) -> Judged:
    word = "passes" if passes else "is refused"
    log.info("gate: the model %s: %s", word, reason)
    return Judged(passes, reason, "\n".join([f"The model **{word}**: {reason}.", "", *table]))


def _table(decision: GateDecision) -> list[str]:
    if not decision.gated:
        return []
    rows = []
    for each in decision.gated:
        d = each.difference
        cells = [d.set, d.condition, f"{d.champion:.2%}", f"{d.challenger:.2%}", f"{d.low:+.2%} … {d.high:+.2%}"]
        rows.append(f"| {' | '.join([*cells, each.state])} |")
    return ["| set | condition | in production | new | difference (95 %) | |", "|---|---|---|---|---|---|", *rows]
