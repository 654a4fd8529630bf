"""The checkpoints of a run in the store: sent, pruned and fetched.

A checkpoint is an object with its SHA-256; `last.json` names the newest and is written after it.
"""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

from oaml_core.errors import StoreError
from oaml_core.store import Store
from oaml_core.store.base import REMAKE
from oaml_core.store.local_file import sha256_of
from oaml_core.tracking import read_metrics
from oaml_core.training.best import BEST, BestCheckpoint, fetch_best

log = logging.getLogger(__name__)

NAME = re.compile(r"step-(\d{10})\.ckpt")
POINTER = "last.json"


class StoredCheckpoints:
    """Checkpoints of one run in the store.

    Args:
        store, prefix: where the checkpoints lie.
        metrics: the run's `metrics.csv`, sent with every checkpoint; None: there is none.
    """

    def __init__(self, store: Store, prefix: str, metrics: Path | None) -> None:
        self.store, self.prefix, self.metrics = store, prefix, metrics
        self._sent_best: BestCheckpoint | None = None
        self._cleaned = False

    def newest(self) -> str:
        """Return the name of the newest checkpoint in the store.

        Raises:
            MissingObject: there is none. StoreError: the store cannot be reached, or the pointer is damaged.
        """
        key = f"{self.prefix}/{POINTER}"
        name = self.store.read_json(key, ("name",))["name"]
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise StoreError(f"{self.store.url(key)} is damaged: it names no checkpoint. {REMAKE}")
        return name

    def fetch(self, name: str, path: Path) -> None:
        """Bring the checkpoint `name` to `path`; where that fails, a warning says why."""
        try:
            self.store.get_file(f"{self.prefix}/{name}", path)
        except StoreError as error:
            log.warning("Checkpoint %s is not here, and cannot be fetched: %s", name, error)

    def fetch_best(self, folder: Path, best: BestCheckpoint) -> BestCheckpoint | None:
        """Bring the checkpoint that `best` names into `folder` as `best.ckpt`; None if the store has no such one."""
        return fetch_best(self.store, self.prefix, folder, best)

    def fetch_metrics(self) -> None:
        """Bring the metrics here, where those that are here end before those in the store."""
        if self.metrics is None:
            return
        try:
            content = self.store.read_bytes(self._metrics_key())
        except StoreError as error:
            log.debug("No metrics in the store: %s", error)
            return
        fetched = self.metrics.with_name(f".{self.metrics.name}.fetched")
        try:
            self.metrics.parent.mkdir(parents=True, exist_ok=True)
            fetched.write_bytes(content)
            ends = [max((step for step, _, _ in read_metrics(path)), default=-1) for path in (fetched, self.metrics)]
            if ends[0] > ends[1]:
                fetched.replace(self.metrics)
        except OSError as error:
            log.warning("The metrics of earlier steps cannot be kept in %s (%s).", self.metrics, error)
        finally:
            fetched.unlink(missing_ok=True)

    def _metrics_key(self) -> str:
        assert self.metrics is not None
        return f"{self.prefix}/{self.metrics.name}"

    def send(self, files: list[Path], best: BestCheckpoint | None) -> bool:
        """Make the store hold what the folder holds: checkpoints first, then the pointer, then nothing older.

        The best one lies under the name of its step before the pointer moves, so that the object that the old pointer
        needs is still there if this is killed.

        Args:
            files: complete checkpoints of the run, the newest last; `best.ckpt` lies beside them.
            best: the best one so far.

        Returns:
            False if the disk or the store failed; a warning names the fault.
        """
        try:
            self.store.put_file(files[-1], f"{self.prefix}/{files[-1].name}")
            if best is not None and best != self._sent_best and best.name != files[-1].name:
                self._put_best(files[-1].parent, best, best.name)
            if self.metrics is not None and self.metrics.exists():
                self.store.write_bytes(self._metrics_key(), self.metrics.read_bytes())  # it grows: a copy is sent
            self.store.write_bytes(f"{self.prefix}/{POINTER}", json.dumps({"name": files[-1].name}).encode())
            if best is not None and best != self._sent_best:
                self._put_best(files[-1].parent, best, BEST)
                # While the best is the newest too, its step's name may be pruned or replaced: it is put again later.
                self._sent_best = best if best.name != files[-1].name else None
            kept = {path.name for path in files} | ({best.name} if best is not None else set())
            for entry in list(self.store.list(f"{self.prefix}/step-")):
                if entry.key.rpartition("/")[2] not in kept:
                    self.store.delete(entry.key)
            self.remove_unfinished()
        except (OSError, StoreError) as error:
            log.warning(
                "Checkpoint %s is here but not in the store yet (%s). Training goes on, and it is sent again.",
                *(files[-1].name, error),
            )
            return False
        return True

    def remove_unfinished(self) -> None:
        """Remove, once, what a process that was killed while it sent has left: nobody else sends a run's checkpoints,
        and what was sent after it made use of what had arrived.

        Raises:
            StoreError: the store cannot be reached.
        """
        if not self._cleaned:
            for entry in self.store.unfinished(f"{self.prefix}/"):
                self.store.forget_unfinished(entry.key)
            self._cleaned = True

    def _put_best(self, folder: Path, best: BestCheckpoint, name: str) -> None:
        """Put `best.ckpt` into the store as `name`, if it is what `best` says."""
        path = folder / BEST
        if sha256_of(path) != best.sha256:
            raise OSError(f"{path} is not the checkpoint of step {best.step} any more")
        self.store.put_file(path, f"{self.prefix}/{name}")
