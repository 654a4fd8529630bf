"""The mark on a model in production that learnt from somebody who has been forgotten since."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from oaml_core.stages.production import champion
from oaml_core.store import Store

RETRAIN = "retraining/production.json"
"""Names the version that must be replaced; older than the pointer's if it was replaced since."""


def mark_for_retraining(store: Store, version: str, reason: str) -> None:
    """Remember that `version` must be replaced by a model that is trained anew."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    content = {"version": version, "reason": reason, "since": since}
    store.write_bytes(RETRAIN, json.dumps(content, indent=1).encode())


def retraining_due(store: Store) -> dict[str, Any] | None:
    """Return why the version in production must be replaced: `version`, `reason`, `since`; None if it need not be.

    Raises:
        StoreError: the mark or the pointer to production is damaged.
    """
    if not store.exists(RETRAIN):
        return None
    mark = store.read_json(RETRAIN, {"version": str, "reason": str, "since": str})
    present = champion(store)
    return mark if present is not None and present["version"] == mark["version"] else None
