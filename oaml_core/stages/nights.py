"""What became of each unattended run: one small record per night in the store, and what they say together."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from oaml_core.amounts import amount, first_of
from oaml_core.cluster_event import Reason
from oaml_core.config import Config
from oaml_core.errors import NotBegun, OamlError, OverBudget, StoreError
from oaml_core.notify import notify
from oaml_core.orderly_end import asking_raises
from oaml_core.stages.addresses import dated_name
from oaml_core.stages.budget import Budget, limits, refuse_night, told_budget
from oaml_core.stages.cost_records import FIGURES, Cost, cost_of
from oaml_core.stages.model_registry import check_addresses
from oaml_core.stages.present_night import (
    BEGUN,
    NIGHTS,
    has_ended,
    is_in_pipeline,
    night_began,
    night_key,
    note_beginning,
    record_name,
)
from oaml_core.stages.production import last_decision
from oaml_core.stages.retraining import retraining_due
from oaml_core.store import Store, open_store
from oaml_core.structured_text import check_types

log = logging.getLogger(__name__)

TROUBLE = "trouble.json"
"""What a step of the night that is under way failed with."""
RESUMED = "resumed.json"
NIGHT = {"ended": str, "state": str, "reason": str}
"""Keys that every night's record has."""
KEPT = 400
"""Records of nights that are kept."""
State = Literal["promoted", "refused", "nothing new", "failed", "over budget", "not begun"]
JUDGED = ("promoted", "refused")
"""States of nights that brought a model to the gate."""
TROUBLES: dict[State, tuple[str, Reason]] = {
    "failed": ("failed", "NightFailed"),
    "over budget": ("was ended by its budget", "NightOverBudget"),
    "not begun": ("did not begin", "NightFailed"),
}
"""Ends of nights without a decision, in words and for the cluster; the first kind alone counts as failed."""


@dataclass(frozen=True)
class Night:
    """Record of a run that has ended."""

    ended: str
    """Time of the end in UTC, ISO 8601."""
    state: State
    reason: str
    decision: str = ""
    """Version and time of the last decision of the promotion gate that was known then."""
    cost: Cost = field(default_factory=Cost)
    """Cost of the night."""


@dataclass(frozen=True)
class NightStatus:
    """The state of the nightly runs, by their records."""

    is_well: bool
    lines: list[str]
    """In words, what is wrong first."""


@contextmanager
def keeping_trouble(config: Config, step: str) -> Iterator[None]:
    """Keep what `step` fails with for the night's record, where the step runs in a pipeline.

    A pod that is ended leaves the block in order: locks and leases are given back.
    """
    try:
        with asking_raises():
            yield
    except Exception as error:
        trouble = _trouble(step, error)
        if is_in_pipeline():
            _without_harm(lambda: _write(open_store(config.store), config, TROUBLE, trouble))
        raise


def begin_night(config: Config) -> None:
    """Write down that a night begins, and forget the last night's trouble; refuse where too many nights have failed,
    or too little space or too little of the month's budget is left.

    Raises:
        OverBudget: too little of the budget is left. ConfigError: the address of the webhook or of the model
            registry cannot be. NotBegun: says what else is against it, and what to do.
    """
    check_addresses()
    store = open_store(config.store)
    _forget_trouble(store, config)
    failed, most = _failed_in_a_row(store, config), config.nightly.stop_after_failures
    if most and len(failed) >= most:
        raise NotBegun(
            f"The last {amount(len(failed), 'night')} failed, and nightly.stop_after_failures is {most}; the last one: "
            f"{failed[-1].reason.rstrip('.')}. Mend that, then `oaml nightly resume --name {config.name}`."
        )
    for place, free in _free(config):
        if free < config.nightly.least_free_gb * 1e9:
            raise NotBegun(
                f"{place} has {free / 1e9:.1f} GB free, and nightly.least_free_gb is {config.nightly.least_free_gb:g}: "
                "free some, or `oaml store gc --delete`."
            )
    nights = past_nights(store, config) if any(limits(config)) else []
    refuse_night(config, [night.cost for night in nights if night.state in JUDGED])
    note_beginning(config, _records(store, config))


def end_night(config: Config, failed: bool, error: str = "") -> Night:
    """Record how the run ended, and tell the webhook if it failed. `promote` tells of a model that was refused.

    Args:
        failed: whether a step failed.
        error: what the pipeline says of that; a step's own message, where one was kept, is preferred.
    """
    store = open_store(config.store)
    night = replace(_failure(store, config, error) if failed else _outcome(store, config), cost=_cost(store, config))
    _write(store, config, record_name(night.ended), asdict(night))
    _forget_trouble(store, config)
    for old in _records(store, config)[:-KEPT]:
        store.delete(old)
    if failed:
        how, event = TROUBLES[night.state]
        notify(f"OAML, {dated_name(config)}: the night {how}: {night.reason}", event)
    return night


def past_nights(store: Store, config: Config) -> list[Night]:
    """Return all nights of this name that are on record, the last one last."""
    return [_night(store, key) for key in _records(store, config)]


def _night(store: Store, key: str) -> Night:
    remedy = "Delete it: no other night needs it."
    found = store.read_json(key, NIGHT, remedy)
    check_types(found, {"cost": dict}, store.url(key), remedy, StoreError)
    cost = found.get("cost", {})
    check_types(cost, FIGURES, store.url(key), remedy, StoreError)
    return Night(found["ended"], found["state"], found["reason"], found.get("decision", ""), cost_of(cost))


def resume_nights(config: Config) -> int:
    """Let nights begin again after too many have failed; return the number of those that had failed one after another.

    Raises:
        OamlError: no night of this name has ended, so that none can have been stopped.
    """
    store = open_store(config.store)
    if not store.is_made() or not past_nights(store, config):
        raise OamlError(f"No run of {config.name} has ended in {store.uri}, so none was stopped.{_others(store)}")
    failed = _failed_in_a_row(store, config)
    if failed:
        _write(store, config, RESUMED, {"when": _now()})
    return len(failed)


def night_status(config: Config, hours: float, now: datetime | None = None) -> NightStatus:
    """Say whether nights end as they should.

    Args:
        hours: time within which a run must have ended.
        now: the present; None: the clock's.
    """
    now = now or datetime.now(UTC)
    store = open_store(config.store)
    nights = past_nights(store, config) if store.is_made() else []
    spent = told_budget(config, [night.cost for night in nights if night.state in JUDGED], now)
    if not nights:
        none = f"No run of {config.name} has ended yet in {store.uri}. Is it scheduled?{_others(store)}"
        return NightStatus(False, [none, *spent.wrong, *spent.lines])
    last, wrong = nights[-1], []
    age = now - datetime.fromisoformat(last.ended)
    if age > timedelta(hours=hours):
        wrong.append(f"No run has ended for {age.total_seconds() / 3600:.0f} hours; {hours:g} are allowed.")
    if last.state in TROUBLES:
        wrong.append(f"The last run {TROUBLES[last.state][0]}: {last.reason}")
    most = config.nightly.stop_after_failures
    if most and len(_failed_in_a_row(store, config)) >= most:
        wrong.append(f"Nights begin no more: {most} failed in a row. `oaml nightly resume` lets them.")
    wrong += [
        f"{place} has {free / 1e9:.1f} GB free; nightly.least_free_gb is {config.nightly.least_free_gb:g}."
        for place, free in _free(config)
        if free < config.nightly.least_free_gb * 1e9
    ]
    if (due := retraining_due(store)) is not None:
        wrong.append(
            f"Version {due['version']} in production must be trained anew since {due['since']}: {due['reason']}."
        )
    said = [f"{each.ended[:16].replace('T', ' ')}  {each.state:<11}  {each.reason}" for each in nights[-7:]]
    return NightStatus(not wrong and not spent.wrong, [*wrong, *spent.wrong, *said, *spent.lines])


def _others(store: Store) -> str:
    """Return a sentence that names the runs which do have nights in a store; empty where there are none."""
    names = {info.key.split("/")[1] for info in store.list(f"{NIGHTS}/")} if store.is_made() else set()
    return f" There are nights of {first_of(sorted(names))}: see --name." if names else ""


def _failure(store: Store, config: Config, error: str) -> Night:
    key = night_key(config, TROUBLE)
    if store.exists(key):
        kept = store.read_json(key, {"step": str, "why": str}, "Delete it.")
        state: State = next((each for each in TROUBLES if each == kept.get("state")), "failed")
        return Night(_now(), state, f"{kept['step']}: {kept['why']}")
    return Night(_now(), "failed", error or "a step ended without a word: look at the run's pods")


def _cost(store: Store, config: Config) -> Cost:
    """Return what the night that ends has cost; nothing where it did not begin, or the records cannot be read."""
    try:
        began = night_began(config)
        if began is None or has_ended(began, _records(store, config)):
            return Cost()
        return Budget(config).spent("night")
    except StoreError as error:
        log.warning("What the night has cost is not known: %s", error)
        return Cost()


def _forget_trouble(store: Store, config: Config) -> None:
    if store.exists(night_key(config, TROUBLE)):
        store.delete(night_key(config, TROUBLE))


def _outcome(store: Store, config: Config) -> Night:
    """Return the gate's decision since the last night, if there is a new one."""
    decided = last_decision(store)
    name = f"{decided['version']} {decided['when']}" if decided else ""
    if name in ("", *(night.decision for night in past_nights(store, config))):
        return Night(_now(), "nothing new", "no model that was not judged before", name)
    return Night(_now(), "promoted" if decided["promoted"] else "refused", decided["reason"], name)


def _failed_in_a_row(store: Store, config: Config) -> list[Night]:
    """Return the nights since the last one that did not fail, and since nights were resumed."""
    if not store.is_made():
        return []
    key = night_key(config, RESUMED)
    since = store.read_json(key, {"when": str}, "Run `oaml nightly resume` again.")["when"] if store.exists(key) else ""
    found: list[Night] = []
    for night in past_nights(store, config):
        if night.state not in ("over budget", "not begun"):  # neither a failure nor a success
            found = [*found, night] if night.state == "failed" and night.ended > since else []
    return found


def _free(config: Config) -> Iterator[tuple[str, int]]:
    """Disks that a night writes to, and their free bytes."""
    folders = [Path(config.work_dir)] + ([] if config.store.startswith("s3://") else [Path(config.store)])
    for folder in folders:
        path = Path(str(folder).removeprefix("file://")).absolute()
        existing = next(each for each in (path, *path.parents) if each.exists())
        yield str(path), shutil.disk_usage(existing).free


def _records(store: Store, config: Config) -> list[str]:
    own = (TROUBLE, RESUMED, BEGUN)
    return [info.key for info in store.list(night_key(config, "")) if info.key.rpartition("/")[2] not in own]


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
        log.warning("The reason could not be kept for the night's record: %s", error)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
