"""Cost records that no budget and no report needs any more."""

from __future__ import annotations

from collections.abc import Container, Iterable
from datetime import datetime, timedelta

from oaml_core.stages.cost_records import COSTS, CostRecords, began_of
from oaml_core.store import ObjectInfo, Store

KEPT_DAYS = 62
"""Days after its last change for which each record is kept: so long that a budget has this month, whatever day it is,
and a person the whole month before."""


def old_costs(store: Store, records: Iterable[ObjectInfo], runs: Container[str], now: datetime) -> list[ObjectInfo]:
    """Return records that can go.

    Args:
        store: that holds them.
        records: objects below `costs/`; those that are no records are left alone.
        runs: digests of the runs that are kept, whose reports may be made again.
        now: the present.

    Raises:
        StoreError: a record cannot be read.
    """
    limit = now - timedelta(days=KEPT_DAYS)
    old: dict[str, list[ObjectInfo]] = {}
    for info in records:
        if began_of(info.key) is not None and info.modified is not None and info.modified < limit:
            old.setdefault(info.key.removeprefix(f"{COSTS}/").rpartition("/")[0], []).append(info)
    return [info for name, members in old.items() for info in _unneeded(store, name, members, runs)]


def _unneeded(store: Store, name: str, records: list[ObjectInfo], runs: Container[str]) -> list[ObjectInfo]:
    """Return records of runs that are gone, and of shards that none of the others was made of."""
    gone = [info for info in records if _run_of(info.key) not in runs]
    if len(gone) < len(records):
        kept = {_run_of(info.key) for info in records} - {_run_of(info.key) for info in gone}
        plans = {record.plan for record in CostRecords(store, name).read(kept)}
        gone = [info for info in gone if _run_of(info.key) not in plans]
    return gone


def _run_of(key: str) -> str:
    return key.rpartition("/")[2].split(".")[1]
