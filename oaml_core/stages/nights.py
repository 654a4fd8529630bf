"""Nights as they begin and end: what is against a beginning, what a step fails with, and what people are told."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from oaml_core.cluster_event import Reason
from oaml_core.config import Config
from oaml_core.errors import NotBegun, OamlError, OverBudget, StoreError
from oaml_core.notify import notify
from oaml_core.orderly_end import asking_raises
from oaml_core.stages.addresses import dated_name
from oaml_core.stages.budget import Budget
from oaml_core.stages.cost_records import Cost
from oaml_core.stages.model_registry import check_addresses
from oaml_core.stages.night_guards import failed_in_a_row, names_with_nights, require_guards
from oaml_core.stages.night_records import Night, State, keep_night, past_nights, record_keys
from oaml_core.stages.present_night import (
    HEARD_OF,
    LONGEST_NIGHT,
    RESUMED,
    TROUBLE,
    has_ended,
    is_in_pipeline,
    night_began,
    night_key,
    note_beginning,
    unended,
)
from oaml_core.stages.production import last_decision
from oaml_core.store import Store, open_store
from oaml_core.store.base import DamagedObject
from oaml_core.structured_text import json_or_none

log = logging.getLogger(__name__)

TROUBLES: dict[State, tuple[str, Reason]] = {
    "failed": ("failed", "NightFailed"),
    "over budget": ("was ended by its budget", "NightOverBudget"),
    "not begun": ("did not begin", "NightFailed"),
}
"""Ends of nights without a decision, in words and for the cluster; the first kind alone counts as failed."""


@contextmanager
def keeping_trouble(config: Config, step: str) -> Iterator[None]:
    """Keep what `step` fails with for the night's record, where the step runs in a pipeline.

    A pod that is ended leaves the block in order: locks and leases are given back. A step begins when those before it
    have succeeded: what they had failed with before they were tried again is forgotten. A step that is killed says
    nothing; the record of the last beginning names it.
    """
    if is_in_pipeline():
        _without_harm(lambda: _forget_trouble(open_store(config.store), config, but_of=step))
        _without_harm(lambda: _write(open_store(config.store), config, HEARD_OF, {"step": step, "state": "began"}))
    try:
        with asking_raises():
            yield
    except Exception as error:
        trouble = _trouble(step, error)
        if is_in_pipeline():
            _without_harm(lambda: _write(open_store(config.store), config, TROUBLE, trouble))
        raise
    if is_in_pipeline():
        _without_harm(lambda: _write(open_store(config.store), config, HEARD_OF, {"step": step, "state": "ended"}))


def begin_night(config: Config) -> None:
    """Write down that a night begins, and forget the last night's trouble; refuse where too many nights have failed,
    or too little space or too little of the month's budget is left.

    A night that began more than `LONGEST_NIGHT` ago, has not ended and is not at work is put on record as failed.

    Raises:
        OverBudget: too little of the budget is left. ConfigError: the address of the webhook or of the model
            registry cannot be. NotBegun: says what else is against it, and what to do.
    """
    check_addresses()
    store = open_store(config.store)
    _forget_trouble(store, config)
    now = datetime.now(UTC)
    records: Sequence[str] = record_keys(store, config, now)
    began = unended(config, records, now)
    joins = began is not None and (now - began < LONGEST_NIGHT or Budget(config).is_at_work(began, now))
    if began is not None:
        records = _tell_of_unended(store, config, began, records, joins)
    require_guards(config, store, records)
    if not joins:
        note_beginning(config, records)


def _tell_of_unended(
    store: Store, config: Config, began: datetime, records: Sequence[str], joins: bool
) -> Sequence[str]:
    """Say that the last night has not ended; put it on record as killed, unless the one that begins `joins` it; return
    the keys of the records of nights that have ended.
    """
    when = f"{began:%Y-%m-%d at %H:%M} UTC"
    if joins:
        log.info("night: the one that began on %s has not ended; this one joins it", when)
        return records
    reason = f"it began on {when} and never ended: its machine went off, or its processes were killed"
    kept = keep_night(store, config, Night(_now(), "failed", reason, cost=_cost(store, config)))
    _tell(config, "failed", reason)
    return kept


def end_night(config: Config, failed: bool, error: str = "") -> Night:
    """Record how the run ended, and tell the webhook if it failed. `promote` tells of a model that was refused.

    Args:
        config: `name`, `store` and `nightly`.
        failed: whether a step failed.
        error: what the pipeline says of that; a step's own message, where one was kept, is preferred.

    Raises:
        StoreError: the record cannot be written; people are told of that, too.
    """
    night = Night(_now(), "failed", error or "a step ended without a word: look at the run's pods")
    try:
        store = open_store(config.store)
        night = _failure(store, config, night) if failed else _outcome(store, config)
        night = replace(night, cost=_cost(store, config))
        keep_night(store, config, night)
    except (StoreError, OSError) as problem:
        how = night.reason if failed else "it ended well"
        _tell(config, "failed", f"{how}. Its record cannot be kept: {problem}")
        raise
    if failed:
        _tell(config, night.state, night.reason)
    _without_harm(lambda: _forget_trouble(store, config))
    _without_harm(lambda: store.delete(night_key(config, HEARD_OF)))
    return night


def resume_nights(config: Config) -> int:
    """Let nights begin again after too many have failed; return the number of those that had failed one after another.

    Raises:
        OamlError: no night of this name has ended, so that none can have been stopped.
    """
    store = open_store(config.store)
    nights = past_nights(store, config) if store.is_made() else []
    if not nights:
        others = names_with_nights(store, config)
        raise OamlError(f"No run of {config.name} has ended in {store.uri}, so none was stopped.{others}")
    failed = failed_in_a_row(store, config, nights)
    if failed:
        _write(store, config, RESUMED, {"when": max(_now(), nights[-1].ended)})
    return len(failed)


def _tell(config: Config, state: State, reason: str) -> None:
    how, event = TROUBLES[state]
    notify(f"OAML, {dated_name(config)}: the night {how}: {reason}", event)


def _failure(store: Store, config: Config, unknown: Night) -> Night:
    key = night_key(config, TROUBLE)
    if not store.exists(key):
        return replace(unknown, reason=f"{_last_heard_of(store, config)}{unknown.reason}")
    try:
        kept = store.read_json(key, {"step": str, "why": str}, "The next night removes it.")
    except StoreError as error:
        return replace(unknown, reason=f"{unknown.reason}. What the step said is lost: {error}")
    state: State = next((each for each in TROUBLES if each == kept.get("state")), "failed")
    return replace(unknown, state=state, reason=f"{kept['step']}: {kept['why']}")


def _last_heard_of(store: Store, config: Config) -> str:
    """Return the beginning of a sentence on the step that was heard of last; empty where none is known."""
    key = night_key(config, HEARD_OF)
    try:
        found = json_or_none(store.read_bytes(key)) if store.exists(key) else None
    except DamagedObject:
        return ""
    if not isinstance(found, dict) or "step" not in found:
        return ""
    if found.get("state") == "ended":
        return f"after {found['step']}: "
    return f"{found['step']}: ended from outside, as by the kernel where memory runs out, or with its machine: "


def _cost(store: Store, config: Config) -> Cost:
    """Return what the night that ends has cost; nothing where it did not begin, or the records cannot be read."""
    try:
        began = night_began(config)
        if began is None or has_ended(began, record_keys(store, config)):
            return Cost()
        return Budget(config).spent("night")
    except StoreError as error:
        log.warning("What the night has cost is not known: %s", error)
        return Cost()


def _forget_trouble(store: Store, config: Config, but_of: str = "") -> None:
    """Forget what a step has failed with, unless that step is `but_of`."""
    key = night_key(config, TROUBLE)
    if not store.is_made() or not store.exists(key):
        return
    if not but_of or store.read_json(key).get("step") != but_of:
        store.delete(key)


def _outcome(store: Store, config: Config) -> Night:
    """Return the gate's decision since the last night, if there is a new one."""
    decided = last_decision(store)
    name = f"{decided['version']} {decided['when']}" if decided else ""
    if name in ("", *(night.decision for night in past_nights(store, config))):
        return Night(_now(), "nothing new", "no model that was not judged before", name)
    return Night(_now(), "promoted" if decided["promoted"] else "refused", decided["reason"], name)


def _write(store: Store, config: Config, name: str, content: dict[str, Any]) -> None:
    store.write_bytes(night_key(config, name), json.dumps(content, indent=1).encode())


def _trouble(step: str, error: Exception) -> dict[str, Any]:
    kind = "" if isinstance(error, OamlError) else f"{type(error).__name__}: "
    states: dict[type[Exception], State] = {OverBudget: "over budget", NotBegun: "not begun"}
    state = next((state for cls, state in states.items() if isinstance(error, cls)), "failed")
    return {"step": step, "why": f"{kind}{error}", "state": state}


def _without_harm(call: Callable[[], None]) -> None:
    """Call; a store that fails is reported, for another error is on its way already."""
    try:
        call()
    except (StoreError, OSError) as error:
        log.warning("What a step fails with could not be kept, or forgotten, for the night's record: %s", error)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
