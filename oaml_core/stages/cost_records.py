"""Cost of runs as the store has it: the records of all attempts at steps, read and added up, each counted once."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from oaml_core.amounts import amount
from oaml_core.errors import StoreError
from oaml_core.store import ObjectInfo, Store
from oaml_core.store.base import DamagedObject, MissingObject
from oaml_core.structured_text import check_types, parse_json

COSTS = "costs"
"""Prefix of all records in a store; below it, one folder per name of runs."""
DELETE = "Delete it: it tells nothing but a cost."
_STAMP = "%Y%m%dT%H%M%S%fZ"
_NAME = re.compile(r"(\d{8}T\d{12}Z)\.([^./]+)\.([^./]+)\.([^./]+)\.json")
ALWAYS = datetime.max.replace(tzinfo=UTC)
"""Later than any attempt."""
_LARGEST = 1e18
"""More than any step can cost, in any unit."""
_LISTINGS = 5
"""Times that records are listed where some go between listing and reading: attempts move theirs once."""


class DamagedRecord(StoreError):
    """A record of a cost that cannot be read, or whose figures cannot be."""


@dataclass(frozen=True)
class Cost:
    """Cost of one attempt at a step, or of several together."""

    gpu_hours: float = 0.0
    """Hours that each GPU was held, added up."""
    core_hours: float = 0.0
    """Hours that each processor core was at a step's disposal, added up; of steps that use no GPU."""
    requests: int = 0
    """Requests to the store, tries included."""
    bytes_read: int = 0
    """Bytes that came from the store."""
    bytes_written: int = 0
    """Bytes that went to the store."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(Cost)))

    def part(self, share: float) -> Cost:
        """Return this cost times `share`, 0 to 1; requests and bytes are rounded."""
        scaled = {each.name: share * getattr(self, each.name) for each in fields(Cost)}
        return Cost(**{name: value if name.endswith("_hours") else round(value) for name, value in scaled.items()})

    @property
    def told(self) -> str:
        """The figures in words, with their units."""
        hours = [f"{self.gpu_hours:.2f} GPU-hours"] if self.gpu_hours else []
        moved = [f"{self.bytes_read / 1e9:.3f} GB read", f"{self.bytes_written / 1e9:.3f} GB written"]
        return ", ".join([*hours, f"{self.core_hours:.2f} core-hours", amount(self.requests, "store request"), *moved])


FIGURES: dict[str, type] = {each.name: float for each in fields(Cost)}
"""Types of the figures of a cost as JSON."""


@dataclass(frozen=True)
class CostRecord:
    """Record of one attempt at a step."""

    step: str
    run: str
    """Digest of the run that it belongs to, or whatever stands in its place."""
    token: str
    """Name of the attempt, which no other attempt has."""
    began: datetime
    """Time of its beginning, in UTC."""
    seconds: float
    """Time that it has taken so far."""
    cost: Cost
    plan: str = ""
    """Plan of shards, whose own costs belong to the run too."""
    damage: str = ""
    """Error message of a record that cannot be read; the cost is then that of the costliest attempt at its step."""

    def between(self, since: datetime, until: datetime) -> Cost:
        """Return the cost that falls between two times; an attempt costs as much in each second."""
        if self.seconds == 0:
            return self.cost if since <= self.began < until else Cost()
        began = self.began.timestamp()
        inside = min(began + self.seconds, until.timestamp()) - max(began, since.timestamp())
        return self.cost.part(min(1.0, max(0.0, inside / self.seconds)))


def record_key(name: str, began: datetime, run: str, step: str, token: str) -> str:
    """Return the key of a record."""
    return f"{COSTS}/{name}/{began:{_STAMP}}.{run}.{step}.{token}.json"


def began_of(key: str) -> datetime | None:
    """Return when the attempt began whose record has this key; None if no attempt wrote it."""
    found = _NAME.fullmatch(key.rpartition("/")[2])
    if found is None:
        return None
    try:
        return datetime.strptime(found[1], _STAMP).replace(tzinfo=UTC)
    except ValueError:  # such as a 13th month
        return None


def cost_of(record: dict[str, Any]) -> Cost:
    """Return the cost that a JSON object of a record holds; what it does not name is 0."""
    return Cost(**{each.name: record.get(each.name, 0) for each in fields(Cost)})


class CostRecords:
    """The records of all runs of one name; those that have not changed are read once.

    Args:
        store: that holds them.
        name: of the runs.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self._known: dict[str, tuple[object, CostRecord]] = {}

    def read(self, runs: Container[str] | None = None, since: datetime | None = None) -> list[CostRecord]:
        """Return records, each attempt once.

        Args:
            runs: digests of the runs that are meant; None: all are.
            since: attempts that had ended before are left out where the store tells so; None: none are.

        Raises:
            StoreError: the store cannot be read. A record that is damaged is given back as such.
        """
        for _ in range(_LISTINGS - 1):
            try:
                return self._read(runs, since)
            except MissingObject:  # an attempt has moved its record, or somebody has removed it
                continue
        return self._read(runs, since)

    def between(self, since: datetime, until: datetime = ALWAYS) -> Cost:
        """Return the cost of all runs between two times.

        Raises:
            StoreError: the store cannot be read.
        """
        return sum((each.between(since, until) for each in self.read(since=since)), Cost())

    def _read(self, runs: Container[str] | None, since: datetime | None) -> list[CostRecord]:
        found: dict[str, CostRecord] = {}
        if not self._store.is_made():
            return []
        top = f"{COSTS}/{self._name}/"
        for info in self._store.list(top):
            name = _NAME.fullmatch(info.key.removeprefix(top))  # below it may be runs of names with a slash
            began = began_of(info.key)
            if name is None or began is None or (runs is not None and name[2] not in runs):
                continue
            if since is not None and began < since and info.modified is not None and info.modified < since:
                continue
            record = self._record(info, began, *name.groups()[1:])
            earlier = found.get(record.token)  # it was killed between its two keys
            if earlier is None or record.seconds >= earlier.seconds:
                found[record.token] = record
        return _with_estimates(list(found.values()))

    def _record(self, info: ObjectInfo, began: datetime, run: str, step: str, token: str) -> CostRecord:
        state = (info.size, info.modified, info.tag)
        known = self._known.get(info.key)
        if known is None or known[0] != state or info.modified is None:
            known = self._known[info.key] = state, self._fetched(info.key, began, run, step, token)
        return known[1]

    def _fetched(self, key: str, began: datetime, run: str, step: str, token: str) -> CostRecord:
        try:
            content = self._checked(key)
        except DamagedRecord as damage:
            return CostRecord(step, run, token, began, 0.0, Cost(), damage=str(damage))
        plan = content.get("plan", "")
        return CostRecord(step, run, token, began, content.get("seconds", 0.0), cost_of(content), plan)

    def _checked(self, key: str) -> dict[str, Any]:
        place = self._store.url(key)
        try:
            content = parse_json(self._store.read_bytes(key), place, DELETE, DamagedRecord, ("step",))
        except DamagedObject as error:
            raise DamagedRecord(f"{error.what} {DELETE}") from None
        check_types(content, {**FIGURES, "seconds": float, "plan": str}, place, DELETE, DamagedRecord)
        for name in ("seconds", *FIGURES):
            if not 0 <= content.get(name, 0) < _LARGEST:
                raise DamagedRecord(f"{place} is damaged: {name} is {content[name]}. {DELETE}")
        return content


def _with_estimates(records: list[CostRecord]) -> list[CostRecord]:
    """Give damaged records the cost of the costliest attempt at the same step: what is unknown is not taken for 0."""
    costliest: dict[str, Cost] = {}
    for each in records:
        if not each.damage:
            known = costliest.get(each.step, Cost())
            pairs = ((getattr(known, one.name), getattr(each.cost, one.name)) for one in fields(Cost))
            costliest[each.step] = Cost(*map(max, pairs))
    return [replace(each, cost=costliest.get(each.step, Cost())) if each.damage else each for each in records]
