"""The checkpoints of a run: copied at once, written, sent and pruned in the background, tried again where that fails.

A file `step-<number>.ckpt` is complete if it is there. In the store a checkpoint is an object with its SHA-256;
`last.json` names the newest and is written after it. Each checkpoint names the best one so far by step and digest,
and the store keeps that one under the name of its step: neither a kill nor another disk brings back an older best.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from oaml_core.errors import CheckpointError, StoreError
from oaml_core.store import Store
from oaml_core.store.base import REMAKE, MissingObject
from oaml_core.store.local_file import sha256_of
from oaml_core.tracking import read_metrics
from oaml_core.training.best import BEST, BestCheckpoint, fetch_best, find_best, with_best
from oaml_core.training.checkpoints import link_atomically, read_checkpoint, write_checkpoint

log = logging.getLogger(__name__)

NAME = re.compile(r"step-(\d{10})\.ckpt")
POINTER = "last.json"
RETRY_SECONDS = 5.0
"""Until a failed write is tried again; doubled with every failure up to `RETRY_SECONDS_MOST`."""
RETRY_SECONDS_MOST = 60.0
PATIENCE_SECONDS = 60.0
"""How long the end of a run waits for a disk or store that fails."""


class Snapshot(NamedTuple):
    """A state at a step, on the CPU, that no longer changes."""

    state: Mapping[str, Any]
    step: int
    best: bool


class CheckpointKeeper:
    """Writes, finds and prunes the checkpoints of one run.

    Training waits for the copy of the state only. Where the disk is full or the store cannot be reached, it goes on:
    there is a warning, what was written before stays, and the newest state and the best one are tried again until they
    are written or newer ones take their place.

    Args:
        folder: local folder of the run's checkpoints.
        store, prefix: where each checkpoint is put as well, so that a run goes on on another machine.
        keep: newest checkpoints that stay, beside the best.
        metrics: the run's `metrics.csv`, sent with every checkpoint, so that it goes on on another machine as well.
        retry_seconds: until the first retry.
    """

    def __init__(
        self,
        folder: Path,
        store: Store | None,
        prefix: str,
        keep: int,
        metrics: Path | None = None,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self.folder, self.store, self.prefix, self.keep = folder, store, prefix, keep
        self.metrics, self.retry_seconds = metrics, retry_seconds
        self.stall_seconds = 0.0
        """Time that training has waited for checkpoints so far."""
        self.best: BestCheckpoint | None = None
        """The best checkpoint so far, which `best.ckpt` is."""
        self._sent_best: BestCheckpoint | None = None
        self._pending: dict[str, Snapshot] = {}
        self._unsent = False
        self._idle = threading.Event()
        self._idle.set()
        self._give_up = threading.Event()
        self._lock = threading.Lock()
        self._cleaned = False

    def save(self, state: Mapping[str, Any], step: int, *, best: bool = False) -> None:
        """Write `state` in the background; the caller waits for the copy alone."""
        began = time.perf_counter()
        snapshot = Snapshot(_copied(state), step, best)
        with self._lock:
            self._pending["best" if best else "last"] = snapshot
            if best:  # it is the newest as well
                self._pending.pop("last", None)
            if self._idle.is_set():
                self._idle.clear()
                threading.Thread(target=self._work, name="checkpoint", daemon=True).start()
        self.stall_seconds += time.perf_counter() - began

    def wait(self, patience: float = PATIENCE_SECONDS) -> None:
        """Return when everything is written and sent.

        Raises:
            CheckpointError: a checkpoint could not be written within `patience` seconds of tries. That one is not in
                the store only is a warning: the next run of the same command sends it.
        """
        if not self._idle.wait(patience):
            self._give_up.set()
            self._idle.wait()
            self._give_up.clear()
        with self._lock:
            lost = max((snapshot.step for snapshot in self._pending.values()), default=None)
            self._pending.clear()
        if lost is not None:
            raise CheckpointError(
                f"The checkpoint of step {lost} could not be written to {self.folder}. Free some space or choose "
                "another work_dir; the same command goes on from the newest one that is there."
            )

    def newest(self) -> str | None:
        """Name of the newest complete checkpoint, here or in the store; None if there is none.

        Raises:
            StoreError: there is none here, and the store cannot be reached.
        """
        names = {path.name for path in self._files()}
        try:
            if self.store is not None:
                names.add(self._named_in_store(self.store))
        except MissingObject:
            pass
        except StoreError as error:
            if not names:
                raise
            log.warning("The store does not say which checkpoint is the newest; the one here is taken. %s", error)
        return max(names, default=None)

    def _named_in_store(self, store: Store) -> str:
        key = f"{self.prefix}/{POINTER}"
        name = store.read_json(key, ("name",))["name"]
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise StoreError(f"{store.url(key)} is damaged: it names no checkpoint. {REMAKE}")
        return name

    def fetch(self, name: str) -> bool:
        """Bring the checkpoint `name` from the store if it is not in the local folder; return True if it is there
        then.
        """
        path = self.folder / name
        if not path.exists() and self.store is not None:
            try:
                self.store.get_file(f"{self.prefix}/{name}", path)
            except StoreError as error:
                log.warning("Checkpoint %s is not here, and cannot be fetched: %s", name, error)
        return path.exists()

    def load(self, name: str) -> dict[str, Any]:
        """Return the state that checkpoint `name` holds.

        Raises:
            CheckpointError: it is neither here nor in the store, or damaged.
        """
        self.fetch(name)
        return read_checkpoint(self.folder / name)

    def hold_best(self, best: BestCheckpoint, *, fetch: bool) -> bool:
        """Let `best.ckpt` be the checkpoint that `best` names, and every checkpoint from here on name it.

        Args:
            best: as the checkpoint says that the run goes on from.
            fetch: ask the store as well as this machine's folder.

        Returns:
            False if no file with that content was found.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        found = find_best(self.folder, best)
        if found is None and fetch and self.store is not None:
            found = fetch_best(self.store, self.prefix, self.folder, best)
        self.best = found
        return found is not None

    def fetch_metrics(self) -> None:
        """Bring the metrics here, where those that are here end before those in the store."""
        if self.store is None or self.metrics is None:
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

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("step-*.ckpt") if NAME.fullmatch(path.name))

    def _work(self) -> None:
        try:
            self._write_and_send()
        except Exception:
            log.exception("Checkpoints cannot be written.")
        finally:
            self._idle.set()

    def _write_and_send(self) -> None:
        """Until there is nothing left to do, or the end of the run does not wait any longer.

        What was written is sent before more is written, so that states that come fast do not keep all from the store.
        """
        delay, sending = self.retry_seconds, False
        while True:
            with self._lock:
                snapshot = min(self._pending.values(), key=lambda one: one.step, default=None)
                if snapshot is None and not self._unsent:
                    self._idle.set()  # under the lock: a state that is saved from here on starts anew
                    return
            sending = self._unsent and (snapshot is None or not sending)
            done = self._send() if sending or snapshot is None else self._write(snapshot)
            if done:
                delay = self.retry_seconds
            elif sending and snapshot is not None:
                continue  # the store fails, the disk may not
            elif self._give_up.wait(delay):
                return
            else:
                delay = min(2 * delay, RETRY_SECONDS_MOST)

    def _write(self, snapshot: Snapshot) -> bool:
        path = self.folder / f"step-{snapshot.step:010d}.ckpt"
        try:
            self._remove_unfinished()
            own = BestCheckpoint(snapshot.step, "")
            write_checkpoint(with_best(snapshot.state, own if snapshot.best else self.best), path)
            if snapshot.best:
                digest = sha256_of(path)
                link_atomically(path, self.folder / BEST)
                self.best = BestCheckpoint(snapshot.step, digest)
            for old in self._files()[: -self.keep]:
                old.unlink()
        except (OSError, RuntimeError) as error:  # torch turns some of the disk's errors into the latter
            log.warning(
                "Checkpoint %s could not be written (%s). Training goes on; the previous one stays, and this is tried "
                "again.",
                *(path, error),
            )
            return False
        with self._lock:
            self._pending = {key: other for key, other in self._pending.items() if other is not snapshot}
            self._unsent = self.store is not None
        return True

    def _remove_unfinished(self) -> None:
        """Remove, once, what a process that was killed while it wrote has left."""
        if not self._cleaned:
            for path in self.folder.glob(".*.tmp"):
                path.unlink(missing_ok=True)
            self._cleaned = True

    def _send(self) -> bool:
        """Make the store hold what the folder holds: checkpoints first, then the pointer, then nothing older.

        The best one lies under the name of its step before the pointer moves, so that the object that the old pointer
        needs is still there if this is killed.
        """
        assert self.store is not None
        files, best = self._files(), self.best
        try:
            self.store.put_file(files[-1], f"{self.prefix}/{files[-1].name}")
            if best is not None and best != self._sent_best and best.name != files[-1].name:
                self._put_best(best, best.name)
            if self.metrics is not None and self.metrics.exists():
                self.store.write_bytes(self._metrics_key(), self.metrics.read_bytes())  # it grows: a copy is sent
            self.store.write_bytes(f"{self.prefix}/{POINTER}", json.dumps({"name": files[-1].name}).encode())
            if best is not None and best != self._sent_best:
                self._put_best(best, BEST)
                # While the best is the newest too, its step's name may be pruned or replaced: it is put again later.
                self._sent_best = best if best.name != files[-1].name else None
            kept = {path.name for path in files} | ({best.name} if best is not None else set())
            for entry in list(self.store.list(f"{self.prefix}/step-")):
                if entry.key.rpartition("/")[2] not in kept:
                    self.store.delete(entry.key)
        except (OSError, StoreError) as error:
            log.warning(
                "Checkpoint %s is here but not in the store yet (%s). Training goes on, and it is sent again.",
                *(files[-1].name, error),
            )
            return False
        self._unsent = False
        return True

    def _put_best(self, best: BestCheckpoint, name: str) -> None:
        """Put `best.ckpt` into the store as `name`, if it is what `best` says."""
        assert self.store is not None
        path = self.folder / BEST
        if sha256_of(path) != best.sha256:
            raise OSError(f"{path} is not the checkpoint of step {best.step} any more")
        self.store.put_file(path, f"{self.prefix}/{name}")


def _copied(value: Any) -> Any:
    """Return a copy of nested state whose tensors are on the CPU and no longer change."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list | tuple) else value
