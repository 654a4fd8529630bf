"""Cost of runs, kept while it arises: one small record per step and attempt in the store.

A record is written every minute and at the end by the process that pays: it is nobody else's, so that nothing is read
and written back, and an attempt that is killed has cost what it cost. Records lie below `costs/<name>/`, by time.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from oaml_core.config import Config
from oaml_core.errors import OamlError, StoreError
from oaml_core.stages.budget import Budget
from oaml_core.stages.cost_records import Cost, CostRecords, record_key
from oaml_core.store import open_store
from oaml_core.store.traffic import Traffic, metered
from oaml_core.usable_cores import usable_cores

log = logging.getLogger(__name__)

BEAT_SECONDS = 60.0
"""Between two writings of a record: a step that is killed has cost at most so much more than is on record."""
UNFINISHED = "unfinished"
"""In place of the run in the key of a step that did not come to know its run."""


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
        cores = 0.0 if self.gpus else usable_cores()
        moved = self.traffic()
        return Cost(hours * self.gpus, hours * cores, moved.requests, moved.bytes_read, moved.bytes_written)

    def write(self) -> None:
        """Write the record, in place of the one that was written before.

        Raises:
            StoreError: the store cannot be written.
        """
        store = open_store(self.config.store)
        name, run = _place(self.config, self.run)
        key = record_key(name, self.began, run, self.step, self._token)
        place = {"step": self.step, "run": self.run, "plan": self.plan}
        content = {**place, "seconds": time.monotonic() - self._clock, **asdict(self.cost())}
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
    """Keep what the block costs on record, however it ends, and hold a step of the pipeline to the night's budget.

    Args:
        config: `name`, `store` and `nightly`.
        step: name for the record.
        run: the run's prefix in the store; empty: it is not known yet, and is set when it is.
        gpus: GPUs that are held on this machine.

    Raises:
        OverBudget: the budget is spent, and the block is not begun, or its training was ended.
    """
    budget = Budget(config)
    budget.require()
    try:
        with metered() as traffic:
            attempt = Attempt(config, step, run, gpus, traffic)
            with _keeping(attempt, budget):
                yield attempt
    except (SystemExit, OamlError) as ended:
        budget.explain(ended)
        raise


@contextmanager
def _keeping(attempt: Attempt, budget: Budget) -> Iterator[None]:
    """Write the record every minute of the block and at its end, and look at the budget each minute."""
    done = threading.Event()

    def keep_writing() -> None:
        while not done.wait(BEAT_SECONDS):
            _write(attempt)
            budget.watch()

    writer = threading.Thread(target=keep_writing, name="costs", daemon=True)
    writer.start()
    try:
        yield
    finally:
        done.set()
        writer.join()
        _write(attempt)


def cost_of_run(config: Config, prefix: str) -> Cost:
    """Return the cost of all attempts at all steps of a run so far.

    A damaged record is named in the log, and counted as the costliest attempt at its step.

    Args:
        config: `name` and `store`.
        prefix: of the run in the store.

    Raises:
        StoreError: the records cannot be read.
    """
    name, run = _place(config, prefix)
    records = CostRecords(open_store(config.store), name)
    own = records.read({run})
    shared = records.read({each.plan for each in own} - {""})
    for each in own + shared:
        if each.damage:
            log.warning("%s", each.damage)
    return sum((each.cost for each in own + shared), Cost())


def _write(attempt: Attempt) -> None:
    """Write a record; a store that fails is reported, for it must not end the step."""
    try:
        attempt.write()
    except (StoreError, OSError) as error:
        log.warning("What %s costs could not be kept: %s", attempt.step, error)


def _place(config: Config, prefix: str) -> tuple[str, str]:
    """Return name and digest of the run at `runs/<name>-<digest>`, for the keys of its costs."""
    top, _, rest = prefix.rpartition("/")
    name, _, run = rest.rpartition("-")
    return (name if top in ("runs", "priors") else config.name), run or UNFINISHED
