"""Cost of runs: one small record per step and attempt in the store, and their sums.

A record is written every minute and at the end by the process that pays: it is nobody else's, so that nothing is read
and written back, and an attempt that is killed has cost what it cost. Records lie below `costs/<name>/`, by time.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from oaml_core.amounts import amount
from oaml_core.config import Config
from oaml_core.errors import StoreError
from oaml_core.store import Store, open_store
from oaml_core.store.traffic import Traffic, metered

log = logging.getLogger(__name__)

COSTS = "costs"
BEAT_SECONDS = 60.0
"""Between two writings of a record: a step that is killed has cost at most so much more than is on record."""
UNFINISHED = "unfinished"
"""In place of the run in the key of a step that did not come to know its run."""


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

    @property
    def told(self) -> str:
        """The figures in words, with their units."""
        hours = [f"{self.gpu_hours:.2f} GPU-hours"] if self.gpu_hours else []
        moved = [f"{self.bytes_read / 1e9:.3f} GB read", f"{self.bytes_written / 1e9:.3f} GB written"]
        return ", ".join([*hours, f"{self.core_hours:.2f} core-hours", amount(self.requests, "store request"), *moved])


def cost_of(record: dict[str, Any]) -> Cost:
    """Return the cost that a JSON object of a record holds; what it does not name is 0."""
    return Cost(**{each.name: record.get(each.name, 0) for each in fields(Cost)})


@dataclass
class Attempt:
    """An attempt at a step, which is under way."""

    config: Config
    step: str
    run: str
    """Prefix in the store of the run that it belongs to; empty until it is known."""
    gpus: int
    """GPUs held here; 0: the cores of this machine are."""
    traffic: Callable[[], Traffic]
    plan: str = ""
    """Plan of shards, whose own costs belong to the run too."""
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    _clock: float = field(default_factory=time.monotonic)
    _token: str = field(default_factory=lambda: secrets.token_hex(4))
    _written: str = ""

    def cost(self) -> Cost:
        """Return the cost so far."""
        hours = (time.monotonic() - self._clock) / 3600
        cores = 0 if self.gpus else len(os.sched_getaffinity(0))
        moved = self.traffic()
        return Cost(hours * self.gpus, hours * cores, moved.requests, moved.bytes_read, moved.bytes_written)

    def write(self) -> None:
        """Write the record, in place of the one that was written before.

        Raises:
            StoreError: the store cannot be written.
        """
        store = open_store(self.config.store)
        name, run = _place(self.config, self.run)
        key = f"{COSTS}/{name}/{_stamp(self.began)}.{run}.{self.step}.{self._token}.json"
        content = {"step": self.step, "run": self.run, "plan": self.plan, **asdict(self.cost())}
        store.write_bytes(key, json.dumps(content, indent=1).encode())
        if self._written not in ("", key):
            store.delete(self._written)
        self._written = key

    def cost_of_run(self) -> Cost:
        """Return the cost of the whole run so far, this attempt with it, whose record is written for that.

        Raises:
            StoreError: the record cannot be written, or another one not be read.
        """
        self.write()
        return cost_of_run(self.config, self.run)


@contextmanager
def costing(config: Config, step: str, run: str = "", *, gpus: int = 0) -> Iterator[Attempt]:
    """Keep what the block costs on record, however it ends.

    Args:
        config: `name` and `store`.
        step: name for the record.
        run: the run's prefix in the store; empty: it is not known yet, and is set when it is.
        gpus: GPUs that are held on this machine.
    """
    with metered() as traffic:
        attempt = Attempt(config, step, run, gpus, traffic)
        done = threading.Event()

        def keep_writing() -> None:
            while not done.wait(BEAT_SECONDS):
                _write(attempt)

        writer = threading.Thread(target=keep_writing, name="costs", daemon=True)
        writer.start()
        try:
            yield attempt
        finally:
            done.set()
            writer.join()
            _write(attempt)


def cost_of_run(config: Config, prefix: str) -> Cost:
    """Return the cost of all attempts at all steps of a run so far.

    Args:
        config: `name` and `store`.
        prefix: of the run in the store.

    Raises:
        StoreError: a record cannot be read.
    """
    store, (name, run) = open_store(config.store), _place(config, prefix)
    keys = [info.key for info in store.list(f"{COSTS}/{name}/")]
    own = [_read(store, key) for key in keys if _run_of(key) == run]
    plans = {record["plan"] for record in own if record.get("plan")}
    shared = [_read(store, key) for key in keys if _run_of(key) in plans]
    return sum(map(cost_of, own + shared), Cost())


def _write(attempt: Attempt) -> None:
    """Write a record; a store that fails is reported, for it must not end the step."""
    try:
        attempt.write()
    except (StoreError, OSError) as error:
        log.warning("What %s costs could not be kept: %s", attempt.step, error)


def _read(store: Store, key: str) -> dict[str, Any]:
    return store.read_json(key, ("step",), "Delete it: it tells nothing but a cost.")


def _place(config: Config, prefix: str) -> tuple[str, str]:
    """Return name and digest of the run at `runs/<name>-<digest>`, for the keys of its costs."""
    top, _, rest = prefix.rpartition("/")
    name, _, run = rest.rpartition("-")
    return (name if top in ("runs", "priors") else config.name), run or UNFINISHED


def _run_of(key: str) -> str:
    return key.rpartition("/")[2].split(".")[1]


def _stamp(when: datetime) -> str:
    return f"{when:%Y%m%dT%H%M%S%f}Z"
