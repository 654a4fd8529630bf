"""Records of what nights have spent, and nights with a budget."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from oaml_core.config import Config
from oaml_core.stages.cost_records import Cost, record_key
from oaml_core.store import open_store

NOVEMBER = datetime(2026, 11, 15, 2, tzinfo=UTC)


def limited(config: Config, **most: float) -> Config:
    return replace(config, nightly=replace(config.nightly, **{f"most_{key}": value for key, value in most.items()}))


def put(
    config: Config,
    gpu_hours: float,
    began: datetime | None = None,
    hours: float = 0.0,
    step: str = "train",
    token: str | None = None,
    run: str = "unfinished",
) -> Path:
    """Put the record of an attempt into the store; where it is."""
    key = record_key(config.name, began or datetime.now(UTC), run, step, token or os.urandom(4).hex())
    content = {"step": step, "run": run, "seconds": 3600 * hours, **asdict(Cost(gpu_hours=gpu_hours))}
    open_store(config.store).write_bytes(key, json.dumps(content).encode())
    path = Path(config.store) / key
    if began is not None and hours < 1000:  # the last write of the attempt
        os.utime(path, ns=(0, int((began + timedelta(hours=hours)).timestamp() * 1e9)))
    return path
