"""Records of nights that have ended, one small object per night in the store: written, read, and put in order.

A record that is damaged, or that lies in the future because a clock was wrong, stops no night: it is named by
`oaml nightly status`, and counts for nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Literal, get_args

from oaml_core.config import Config
from oaml_core.errors import StoreError
from oaml_core.stages.cost_records import FIGURES, Cost, cost_of
from oaml_core.stages.present_night import ASIDE, CLOCKS, night_key, record_name
from oaml_core.store import Store
from oaml_core.store.base import DamagedObject
from oaml_core.structured_text import check_types, parse_json

NIGHT = {"ended": str, "state": str, "reason": str}
"""Keys that every night's record has."""
DELETE = "Delete it: no other night needs it."
KEPT = 400
"""Records of nights that are kept."""
State = Literal["promoted", "refused", "nothing new", "failed", "over budget", "not begun"]
JUDGED = ("promoted", "refused")
"""States of nights that brought a model to the gate."""


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


class DamagedNight(StoreError):
    """A night's record that cannot be read, or whose time lies in the future."""


def past_nights(store: Store, config: Config, keys: Sequence[str] | None = None) -> list[Night]:
    """Return the nights of this name that are on record, the last one last; damaged records are left out.

    Args:
        store: that holds them.
        config: `name`.
        keys: of the records, from `record_keys`; None: they are listed.

    Raises:
        StoreError: the store cannot be read.
    """
    known = record_keys(store, config) if keys is None else keys
    return [night for key in known if not isinstance(night := _night(store, key), str)]


def read_nights(store: Store, config: Config, now: datetime | None = None) -> tuple[list[Night], list[str]]:
    """Return the nights as `past_nights` does, and what is wrong with each record that counts for nothing, with what to
    do about it; every record is read once.

    Raises:
        StoreError: the store cannot be read.
    """
    read = {key: _night(store, key) for key in _keys(store, config)}
    ended = _ended_by(read, now)
    nights = [night for key in ended if not isinstance(night := read[key], str)]
    wrong = [night for night in read.values() if isinstance(night, str)]
    if future := sorted(read.keys() - set(ended)):
        wrong.append(
            f"{store.url(future[0])} tells of a night that ends in the future: a clock is wrong, or was. It counts for "
            f"nothing until then. {DELETE}"
        )
    return nights, wrong


def record_keys(store: Store, config: Config, now: datetime | None = None) -> list[str]:
    """Return the keys of all records of nights that have ended by now, in the order of their ends."""
    return _ended_by(_keys(store, config), now)


def keep_night(store: Store, config: Config, night: Night) -> list[str]:
    """Write a record, and remove those of nights long ago; return the keys of all that are there then.

    Raises:
        StoreError: the store cannot be written.
    """
    store.write_bytes(night_key(config, record_name(night.ended)), json.dumps(asdict(night), indent=1).encode())
    keys = record_keys(store, config)
    for old in keys[:-KEPT]:
        with suppress(StoreError):  # the next night removes it
            store.delete(old)
    return keys[-KEPT:]


def _ended_by(keys: Iterable[str], now: datetime | None) -> list[str]:
    last = record_name(((now or datetime.now(UTC)) + CLOCKS).isoformat(timespec="microseconds"))
    return [key for key in keys if key.rpartition("/")[2] <= last]


def _keys(store: Store, config: Config) -> Iterator[str]:
    top = night_key(config, "")
    for info in store.list(top):
        name = info.key.removeprefix(top)
        if name not in ASIDE and "/" not in name:  # below it may be nights of names with a slash
            yield info.key


def _night(store: Store, key: str) -> Night | str:
    """Return the night of a record, or what is wrong with that."""
    try:
        return _checked(store, key)
    except DamagedNight as damage:
        return str(damage)
    except DamagedObject as damage:
        return f"{damage.what} {DELETE}"


def _checked(store: Store, key: str) -> Night:
    place = store.url(key)
    found = parse_json(store.read_bytes(key), place, DELETE, DamagedNight, NIGHT)
    check_types(found, {"cost": dict, "decision": str}, place, DELETE, DamagedNight)
    cost = found.get("cost", {})
    check_types(cost, FIGURES, place, DELETE, DamagedNight)
    try:
        is_time = datetime.fromisoformat(found["ended"]).tzinfo is not None
    except ValueError:
        is_time = False
    if not is_time or found["state"] not in get_args(State):
        raise DamagedNight(f"{place} is damaged: it has no time of its end, or no known state. {DELETE}")
    return Night(found["ended"], found["state"], found["reason"], found.get("decision", ""), cost_of(cost))
