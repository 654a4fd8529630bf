"""The night that is under way: when it began, and whether this process is one of its steps."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from oaml_core.config import Config
from oaml_core.errors import StoreError
from oaml_core.store import open_store

log = logging.getLogger(__name__)

NIGHTS = "nights"
"""Prefix of all records of nights in a store; below it, one folder per name of runs."""
BEGUN = "begun.json"
TROUBLE = "trouble.json"
"""Failure of a step of the night that is under way."""
HEARD_OF = "step.json"
"""Step of the night that is under way that began or ended last."""
RESUMED = "resumed.json"
ASIDE = (BEGUN, TROUBLE, HEARD_OF, RESUMED)
"""Objects beside the records of nights that have ended."""
CLOCKS = timedelta(hours=1)
"""Difference of two machines' clocks that is nothing to speak of."""
IN_PIPELINE = "OAML_IN_PIPELINE"
"""Environment variable that the pipeline gives to its steps, and they to their workers: their errors are kept for the
night's record, and its budget binds them."""
LONGEST_NIGHT = timedelta(hours=12)
"""Time after which a night that has begun and not ended is taken for one that was killed."""


def is_in_pipeline() -> bool:
    """Return True if this process works for a run of the pipeline."""
    return bool(os.environ.get(IN_PIPELINE))


def night_key(config: Config, name: str) -> str:
    """Return the key of a record of the nights of `config.name`."""
    return f"{NIGHTS}/{config.name}/{name}"


def night_began(config: Config) -> datetime | None:
    """Return when the last night of this name began; None if none has.

    Raises:
        StoreError: the record cannot be read.
    """
    store, key = open_store(config.store), night_key(config, BEGUN)
    if not store.is_made() or not store.exists(key):
        return None
    remedy = "Delete it: the next night writes it."
    told = store.read_json(key, {"began": str}, remedy)["began"]
    try:
        return datetime.fromisoformat(told).astimezone(UTC)
    except ValueError:
        raise StoreError(f"{store.url(key)} is damaged: {told!r} is no time. {remedy}") from None


def record_name(ended: str) -> str:
    """Return the name of the record of a night that ended at a time, ISO 8601 with microseconds."""
    return f"{ended.replace(':', '')}.json"


def has_ended(began: datetime, records: Sequence[str]) -> bool:
    """Return True if a night has ended since.

    Args:
        began: when the night began.
        records: keys of the records of nights that have ended, in order.
    """
    since = record_name(began.isoformat(timespec="microseconds"))
    return bool(records) and records[-1].rpartition("/")[2] > since


def unended(config: Config, records: Sequence[str], now: datetime | None = None) -> datetime | None:
    """Return when the last night began, where none has ended since; None where one has, or none has begun.

    Args:
        config: `name` and `store`.
        records: as `has_ended` takes them.
        now: the present; None: the clock's.
    """
    try:
        began = night_began(config)
    except StoreError as error:
        log.warning("%s It is written anew.", error)
        return None
    if began is None or has_ended(began, records) or began > (now or datetime.now(UTC)):
        return None
    return began


def note_beginning(config: Config, records: Sequence[str], now: datetime | None = None) -> None:
    """Write down that a night begins. It joins one of the same name that is under way, and shares its budget.

    Args:
        config: `name` and `store`.
        records: as `has_ended` takes them.
        now: the present; None: the clock's.
    """
    now = now or datetime.now(UTC)
    began = unended(config, records, now)
    if began is not None and now - began < LONGEST_NIGHT:
        return
    content = {"began": now.isoformat(timespec="microseconds")}
    open_store(config.store).write_bytes(night_key(config, BEGUN), json.dumps(content).encode())
