"""The production pointer, moved back to an earlier model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oaml_core.config import Config
from oaml_core.errors import StoreError
from oaml_core.stages.addresses import announce
from oaml_core.stages.model_registry import archive_version
from oaml_core.stages.production import PRODUCTION, WITHDRAWN, champion, point_back, record, records
from oaml_core.store import Store, open_store, split_uri


@dataclass(frozen=True)
class RolledBack:
    """The result of `rollback`."""

    version: str
    """In production now."""
    withdrawn: str
    """What was before; it is not promoted again, unless somebody rolls back to it."""
    model_uri: str


def rollback(config: Config, version: str | None = None) -> RolledBack:
    """Put the model that was in production before (or `version`) back there.

    Args:
        config: `store`.
        version: any version that was ever in production; None: the one before the present one, which was not rolled
            back itself.

    Raises:
        StoreError: there is no such version, or its model is not in the store any more.
    """
    store = open_store(config.store)
    present = champion(store)
    if present is None:
        raise StoreError(f"There is no {store.url(PRODUCTION)}: nothing is in production, and so nothing to move back.")
    wanted = _wanted(store, version or _before(store, present), present["version"])
    holder, key = split_uri(wanted["model_uri"])
    if not holder.exists(key):
        raise StoreError(
            f"{wanted['model_uri']} is not there any more: production stays as it is. Roll back to another version."
        )
    point_back(store, wanted, present)
    archive_version(config, present["version"], wanted["version"])
    announce("rollback", f"version {wanted['version']} instead of {present['version']}", store.url(PRODUCTION), False)
    return RolledBack(wanted["version"], present["version"], wanted["model_uri"])


def _before(store: Store, present: Mapping[str, Any]) -> str | None:
    """Return the version before the present one, passing over those that were rolled back.

    A model can be promoted again after its successor, so that each of two was before the other.
    """
    version, seen = present.get("previous"), {present["version"]}
    while version is not None and version not in seen:
        found = record(store, version)
        if found is None or WITHDRAWN not in found:
            return str(version)
        seen.add(version)
        version = found.get("previous")
    return None


def _wanted(store: Store, version: str | None, present: str) -> dict[str, Any]:
    """Return the record of the version to go back to."""
    if version is None:
        raise StoreError(
            f"Version {present} is the first that was in production, or all before it were rolled back: none is before "
            "it. --to names any version."
        )
    found = record(store, version)
    if found is None:
        known = ", ".join(each["version"] for each in records(store)) or "none"
        raise StoreError(f"Version {version} was never in production. Those that were: {known}.")
    return found
