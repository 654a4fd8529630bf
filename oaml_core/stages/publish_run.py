"""A finished run's best checkpoint, metrics and result, put into the store so that the three agree."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from oaml_core.errors import CheckpointError, StoreError
from oaml_core.stages.cost_records import Cost
from oaml_core.store import Store
from oaml_core.store.local_file import sha256_of
from oaml_core.structured_text import parse_json
from oaml_core.tracking import METRICS
from oaml_core.training.launcher import RESULT

log = logging.getLogger(__name__)

PUBLISHED = "best.ckpt"
"""Name of the best checkpoint in a run's folder of checkpoints, and below the run's prefix in the store."""

PUBLISH_AGAIN = "Delete it, and run `oaml train` again: it publishes the run."


def publish_run(store: Store, prefix: str, run_dir: Path, cost: Cost | None = None) -> None:
    """Put the best checkpoint, the metrics and, last, the result of the run in `run_dir` into the store.

    A result that the store has already stays, with its checkpoint.

    Args:
        store, prefix: where the run is published.
        run_dir: folder of the run; its `result.json` names the best checkpoint by step and digest.
        cost: of the run so far, for its result; None: it is not known.

    Raises:
        CheckpointError: the best checkpoint in `run_dir` is not the one that the result names.
        StoreError: the store cannot be written.
    """
    if store.exists(f"{prefix}/{RESULT}"):
        log.warning("%s is there already, from another try of this run; it stays.", store.url(f"{prefix}/{RESULT}"))
        return
    result = parse_json((run_dir / RESULT).read_bytes(), str(run_dir / RESULT), PUBLISH_AGAIN, CheckpointError)
    best = result.get("best")
    path = run_dir / "checkpoints" / PUBLISHED
    if best is None:
        raise CheckpointError(
            f"{run_dir / RESULT} names no best checkpoint: the run was trained by an earlier version and never "
            f"published. Give the run another --name, and {path} as --train.start_from."
        )
    if not path.is_file() or sha256_of(path) != best["sha256"]:
        raise CheckpointError(
            f"{path} is not the checkpoint of step {best['step']}, which was the best. Nothing is published. Run the "
            "same command again: it brings that checkpoint back."
        )
    put = store.put_file(path, f"{prefix}/{PUBLISHED}")
    if put.sha256 != best["sha256"]:
        raise CheckpointError(f"{path} changed while it was published. Run the same command again.")
    store.put_file(run_dir / METRICS, f"{prefix}/{METRICS}")
    told = {} if cost is None else {"cost": asdict(cost)}
    store.write_bytes(f"{prefix}/{RESULT}", json.dumps(result | told).encode())


def checked_result(store: Store, prefix: str) -> dict[str, Any]:
    """Return metrics and `cost` of the published run at `prefix`, whose checkpoint is the one that its result names.

    Raises:
        MissingObject: the run is not published. StoreError: its checkpoint is another one.
    """
    result = store.read_json(f"{prefix}/{RESULT}", remedy=PUBLISH_AGAIN)
    best = result.pop("best", None)
    if best is not None:
        found = store.stat(f"{prefix}/{PUBLISHED}").sha256
        if found not in ("", best["sha256"]):
            raise StoreError(
                f"{store.url(f'{prefix}/{PUBLISHED}')} is not the checkpoint of step {best['step']} that {RESULT} "
                f"names. Delete {store.url(f'{prefix}/{RESULT}')} and run `oaml train` again: it publishes both."
            )
    return result
