"""An exported model → the one in production, where it is not inferior."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oaml_core.config import Config
from oaml_core.notify import notify
from oaml_core.settings import digest
from oaml_core.stages.addresses import announce, dated_name, prefix_of, read_metrics_json
from oaml_core.stages.costs import costing
from oaml_core.stages.gate_stage import challenge
from oaml_core.stages.model_registry import enter_version
from oaml_core.stages.production import (
    PRODUCTION,
    WITHDRAWN,
    ProductionMoved,
    champion,
    earlier_decision,
    last_decision,
    note_decision,
    point_at,
    record,
)
from oaml_core.store import Store, open_store

log = logging.getLogger(__name__)

HEADLINE_METRIC = "val_accuracy_clean_combined"
"""Kept with every version, for those who read the history."""


TRIES = 5
"""How often a model is judged where others come into production meanwhile."""


@dataclass(frozen=True)
class Promoted:
    """The result of `promote`."""

    version: str
    promoted: bool
    reason: str


def promote(config: Config, model_uri: str, metrics_uri: str) -> Promoted:
    """Make the model at `model_uri` the one in production, unless it is inferior to that one or cannot be compared.

    The two are compared pair by pair from the scores beside both `metrics.json`; `config.promote` says what is let
    pass. The pointer `models/production.json` is written last; what it pointed to before stays where it is, and
    `rollback` leads back to it. A model that was rolled back is not promoted again. Where another model came into
    production meanwhile, this one is judged against that.

    Raises:
        StoreError: the store cannot be written, or production moves on and on.
    """
    with costing(config, "promote", prefix_of(config, model_uri)):
        for _ in range(TRIES - 1):
            try:
                return _promote(config, model_uri, metrics_uri)
            except ProductionMoved as moved:
                log.info("promote: %s The model is judged again.", moved)
        return _promote(config, model_uri, metrics_uri)


def _promote(config: Config, model_uri: str, metrics_uri: str) -> Promoted:
    """Judge the model against what is in production now, and put it in that one's place if it passes."""
    store = open_store(config.store)
    measured = read_metrics_json(metrics_uri)
    name = digest(model_uri, metrics_uri)
    present = champion(store)
    if present is not None and present["version"] == name:
        _note_lost_decision(store, present)
        enter_version(config, present, measured)  # for the night on which the registry did not answer
        return Promoted(name, True, "nothing new: this data and configuration gave the model that is in production")
    objection, reason = _withdrawn(record(store, name)), "the first model"
    if objection is None and present is not None:
        decision = challenge(config, present, metrics_uri)
        objection, reason = (None if decision.passes else decision.reason), decision.reason
    if objection is not None:
        return _refused(config, name, present["version"] if present else "nothing", objection)
    pointer = {
        "version": name,
        "model_uri": model_uri,
        "metrics_uri": metrics_uri,
        "accuracy": measured["headline"][HEADLINE_METRIC],
        "sets": sorted(measured["sets"]),
    }
    made = point_at(store, pointer, judged=present)
    note_decision(store, name, True, reason)
    enter_version(config, made, measured, reason)
    announce("promote", f"version {name}: {reason}", store.url(PRODUCTION), False)
    return Promoted(name, True, reason)


def _refused(config: Config, version: str, champion_version: str, objection: str) -> Promoted:
    """Leave production alone and say why: to people once, however many nights bring the same model."""
    store = open_store(config.store)
    log.info("promote: kept %s: %s", champion_version, objection)
    earlier = earlier_decision(store, version)
    if earlier is not None and not earlier["promoted"]:
        return Promoted(version, False, f"nothing new since {earlier['when']}: {objection}")
    stays = f"{version} was not promoted, {champion_version} stays in production"
    notify(f"OAML, {dated_name(config)}: {stays}: {objection}", "NightModelRefused")
    note_decision(store, version, False, objection)  # last: whoever is killed in between tells it again
    return Promoted(version, False, objection)


def _note_lost_decision(store: Store, present: Mapping[str, Any]) -> None:
    """Note the decision on what is in production, where the run that promoted it was killed before it could."""
    seconds = len("2026-01-31T00:00:00")  # decisions are dated to the second
    if present.get("promoted_at", "")[:seconds] > last_decision(store).get("when", "")[:seconds]:
        note_decision(store, present["version"], True, "promoted by a run that was ended before it could say so")


def _withdrawn(known: Mapping[str, Any] | None) -> str | None:
    """Return why a version with this record is not promoted again, or None if nothing is against it."""
    if known is None or WITHDRAWN not in known:
        return None
    return f"it was rolled back on {known[WITHDRAWN]}; `oaml rollback --to {known['version']}` brings it back"
