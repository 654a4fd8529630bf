"""Which model is in production, and which have been: the pointer and the history behind it.

`models/<version>.json` says all there is to know of a promoted version and stays; the pointer
`models/production.json` is a copy of one of them, and moves last. One process at a time moves it, from the version that
it expects there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from oaml_core.errors import StoreError
from oaml_core.store import Store
from oaml_core.store.lease import Lease, lease

PRODUCTION = "models/production.json"
LAST_DECISION = "models/decisions/last.json"
"""What the gate said last; it tells a night with nothing new from one with a new model."""
ANYTHING: Mapping[str, Any] = MappingProxyType({})
"""In place of what is expected in production: whatever is there."""
POINTER_KEYS = {"version": str, "model_uri": str, "metrics_uri": str}
"""Keys that the pointer has, whatever version wrote it, and their types."""
RECORD_KEYS = {**POINTER_KEYS, "promoted_at": str}
DECIDED = {"version": str, "promoted": bool, "reason": str, "when": str}
POINTER_REMEDY = (
    "It is a copy of the record of one version. `oaml store ls models/` lists them. Choose the one that should be "
    "in production: `oaml store get models/VERSION.json`, then `oaml store put VERSION.json {key}`."
)
"""What to do about a damaged pointer."""
RECORD_REMEDY = (
    "Bring it back from a copy of the store. If that version is in production, {key} has the content of "
    "models/production.json: `oaml store get` and `oaml store put` copy it."
)
WITHDRAWN = "withdrawn"
"""In a version's record: when it was rolled back. Promotion passes over such a version."""


def champion(store: Store) -> dict[str, Any] | None:
    """Return the record of the model in production; None if there is none.

    Its keys: `version`, `model_uri`, `metrics_uri`, `accuracy`, `sets`, `previous`, `promoted_at` (UTC, ISO 8601).
    """
    return _read(store, PRODUCTION) if store.exists(PRODUCTION) else None


def record(store: Store, version: str) -> dict[str, Any] | None:
    """Return the record of a version that was promoted once, or None if there was no such version."""
    key = record_key(version)
    return _read(store, key) if store.exists(key) else None


def records(store: Store) -> list[dict[str, Any]]:
    """Return all versions that were ever promoted, in the order of their promotion."""
    found = [_read(store, info.key) for info in store.list("models/") if is_record(info.key)]
    return sorted(found, key=lambda each: each["promoted_at"])


class ProductionMoved(StoreError):
    """The model in production is no longer the one that was judged."""


def point_at(store: Store, pointer: Mapping[str, Any], judged: Mapping[str, Any] | None = ANYTHING) -> dict[str, Any]:
    """Put a version into production in place of the one that it was judged against: its record first, the pointer last.

    Args:
        store: where production is.
        pointer: at least `version`. `previous`, the version that it follows, and `promoted_at` are added.
        judged: what was in production when `pointer` was judged, None if nothing was; by default it is not compared.

    Raises:
        ProductionMoved: something else is there now, or the version was rolled back meanwhile; nothing is written.
    """
    with _moving(store, judged) as (held, before):
        if judged is not ANYTHING and WITHDRAWN in (record(store, pointer["version"]) or {}):
            raise ProductionMoved(f"Version {pointer['version']} was rolled back meanwhile.")
        previous = None if before is None else before["version"]
        made = {**pointer, "previous": previous, "promoted_at": datetime.now(UTC).isoformat(timespec="microseconds")}
        if before is not None and record(store, before["version"]) is None:  # a pointer of the time before records
            _write(store, record_key(before["version"]), {"previous": None, "promoted_at": "", **before})
        held.require()
        _write(store, record_key(made["version"]), made)
        held.require()
        _write(store, PRODUCTION, made)
    return made


def point_back(store: Store, wanted: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    """Put the version of the record `wanted` into production again, and mark `present`, which leaves, as withdrawn.

    Raises:
        ProductionMoved: `present` is not in production any more; nothing is written.
    """
    with _moving(store, present) as (held, _):
        held.require()
        if wanted["version"] != present["version"]:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            _write(store, record_key(present["version"]), {**present, WITHDRAWN: now})
        back = {name: value for name, value in wanted.items() if name != WITHDRAWN}
        _write(store, record_key(wanted["version"]), back)
        held.require()
        _write(store, PRODUCTION, back)


@contextmanager
def _moving(store: Store, expected: Mapping[str, Any] | None) -> Iterator[tuple[Lease, dict[str, Any] | None]]:
    """Let nobody else move the pointer, which is at `expected`; gives the lease, and what is in production."""
    with lease(store, "production") as held:
        present = champion(store)
        versions = [None if each is None else each.get("version") for each in (expected, present)]
        if expected is not ANYTHING and versions[0] != versions[1]:
            raise ProductionMoved(
                f"{store.url(PRODUCTION)} names {versions[1] or 'nothing'} now, not {versions[0] or 'nothing'}: "
                "somebody else moved it meanwhile. It stays so; run the same command again."
            )
        yield held, present


def earlier_decision(store: Store, version: str) -> dict[str, Any] | None:
    """Return the decision on this version (`promoted`, `reason`, `when`) if it is the last one that was judged, else
    None."""
    last = last_decision(store)
    return last if last.get("version") == version else None


def last_decision(store: Store) -> dict[str, Any]:
    """Return the last decision: `version`, `promoted`, `reason`, `when`; empty if there was none.

    Raises:
        StoreError: it is damaged.
    """
    if not store.exists(LAST_DECISION):
        return {}
    return store.read_json(LAST_DECISION, DECIDED, "Delete it: the next promotion writes it again.")


def note_decision(store: Store, version: str, promoted: bool, reason: str) -> None:
    """Remember what was decided of a version."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    _write(store, LAST_DECISION, {"version": version, "promoted": promoted, "reason": reason, "when": when})


def record_key(version: str) -> str:
    """Return the key of a version's record."""
    return f"models/{version}.json"


def is_record(key: str) -> bool:
    """Return True if `key` is that of a version's record."""
    return key.startswith("models/") and key.endswith(".json") and key != PRODUCTION and key.count("/") == 1


def _read(store: Store, key: str) -> dict[str, Any]:
    """Read the pointer or a version's record; the error for a damaged one says what to do about it."""
    if key == PRODUCTION:
        return store.read_json(key, POINTER_KEYS, POINTER_REMEDY.format(key=key))
    return store.read_json(key, RECORD_KEYS, RECORD_REMEDY.format(key=key))


def _write(store: Store, key: str, content: Mapping[str, Any]) -> None:
    store.write_bytes(key, json.dumps(content, indent=1).encode())
