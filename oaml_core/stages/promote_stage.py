"""An exported model → the one in production, where it is not worse."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oaml_core.config import Config
from oaml_core.settings import digest
from oaml_core.stages.addresses import announce, read_metrics_json
from oaml_core.stages.production import PRODUCTION, WITHDRAWN, champion, point_at, record
from oaml_core.store import open_store

log = logging.getLogger(__name__)

GATE_METRIC = "val_accuracy_clean_combined"
"""What promotion compares."""


@dataclass(frozen=True)
class Promoted:
    """What `promote` gives."""

    version: str
    promoted: bool
    reason: str


def promote(config: Config, model_uri: str, metrics_uri: str) -> Promoted:
    """Make the model at `model_uri` the one in production, unless that one is better or cannot be compared.

    The pointer `models/production.json` is written last; what it pointed to before stays where it is, and
    `rollback` leads back to it. A model that was rolled back is not promoted again.
    """
    store = open_store(config.store)
    measured = read_metrics_json(metrics_uri)
    accuracy, sets = measured["headline"][GATE_METRIC], sorted(measured["sets"])
    name = digest(model_uri, metrics_uri)
    present = champion(store)
    if present is not None and present["version"] == name:
        return Promoted(name, True, "it is in production already")
    objection = _withdrawn(record(store, name)) or (_objection(present, accuracy, sets) if present else None)
    if objection is not None:
        log.info("promote: kept %s: %s", present["version"] if present else "nothing", objection)
        return Promoted(name, False, objection)
    pointer = {"version": name, "model_uri": model_uri, "metrics_uri": metrics_uri, "accuracy": accuracy, "sets": sets}
    point_at(store, pointer)
    announce("promote", f"version {name}", store.url(PRODUCTION), False)
    return Promoted(name, True, "the first model" if present is None else f"not below {present['accuracy']:.4f}")


def _withdrawn(known: Mapping[str, Any] | None) -> str | None:
    """Why a version with this record is not promoted again; None if nothing is against it."""
    if known is None or WITHDRAWN not in known:
        return None
    return f"it was rolled back on {known[WITHDRAWN]}; `oaml rollback --to {known['version']}` brings it back"


def _objection(champion: Mapping[str, Any], accuracy: float, sets: list[str]) -> str | None:
    """Why a model of this accuracy on these verification sets does not replace the champion; None if it does."""
    theirs = champion.get("sets", [])
    if theirs != sets:
        return (
            f"it was measured on {', '.join(theirs)} and the new model on {', '.join(sets)}, so that the two cannot be "
            f"compared. Remove {PRODUCTION} from the store to begin anew"
        )
    if champion["accuracy"] > accuracy:
        return f"the new model's {GATE_METRIC} {accuracy:.4f} is below its {champion['accuracy']:.4f}"
    return None
