"""The checkpoints of a run: copied at once, written, sent and pruned in the background, tried again where that fails.
Large ones, as of a million classes, are written at once in place of a copy.

A file `step-<number>.ckpt` is complete if it is there. In the store a checkpoint is an object with its SHA-256;
`last.json` names the newest and is written after it. Each checkpoint names the best one so far by step and digest,
and the store keeps that one under the name of its step: neither a kill nor another disk brings back an older best.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from oaml_core.errors import CheckpointError, StoreError
from oaml_core.store import Store
from oaml_core.store.base import MissingObject
from oaml_core.store.local_file import sha256_of
from oaml_core.training.best import BEST, BestCheckpoint, find_best, with_best
from oaml_core.training.checkpoints import link_atomically, read_checkpoint, write_checkpoint
from oaml_core.training.snapshot import Snapshot, bytes_on_cpu, copied
from oaml_core.training.stored_checkpoints import NAME, StoredCheckpoints

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
"""Wait before a failed write is tried again; doubled with every failure up to `RETRY_SECONDS_MOST`."""
RETRY_SECONDS_MOST = 60.0
UNCOPIED_BYTES = 1 << 30
"""A state of so many bytes on the CPU is written without a copy, which would take as much memory and about as long."""
PATIENCE_SECONDS = 60.0
"""How long the end of a run waits for a disk or store that fails."""


class CheckpointKeeper:
    """Writes, finds and prunes the checkpoints of one run.

    Training waits for the copy of the state only, or until a large one is on the disk. Where the disk is full or the
    store cannot be reached, it goes on: there is a warning, what was written before stays, and the newest state and the
    best one are tried again until they are written or newer ones take their place.

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
        self.folder, self.keep, self.retry_seconds = folder, keep, retry_seconds
        self._stored = None if store is None else StoredCheckpoints(store, prefix, metrics)
        self.stall_seconds = 0.0
        """Time that training has waited for checkpoints so far."""
        self.best: BestCheckpoint | None = None
        """The best checkpoint so far, which `best.ckpt` is."""
        self._pending: dict[str, Snapshot] = {}
        self._unsent = 0  # checkpoints that were written since the store had the newest
        self._idle = threading.Event()
        self._idle.set()
        self._give_up = threading.Event()
        self._lock = threading.Lock()
        self._cleaned = False

    def save(self, state: Mapping[str, Any], step: int, *, best: bool = False) -> None:
        """Write `state` in the background; the caller waits for the copy alone, or for the disk if it is large."""
        began = time.perf_counter()
        if not self._is_written_uncopied(state, step, best):
            snapshot = Snapshot(copied(state), step, best)
            with self._lock:
                self._pending["best" if best else "last"] = snapshot
                if best:  # it is the newest as well
                    self._pending.pop("last", None)
                self._begin_work()
        self.stall_seconds += time.perf_counter() - began

    def _is_written_uncopied(self, state: Mapping[str, Any], step: int, best: bool) -> bool:
        """Write a large state at once; return False if it is to be copied, as it is small or the disk is full.

        While others wait to be written it is copied, too: what is written has to name the best one before it.
        """
        with self._lock:
            if self._pending or bytes_on_cpu(state) < UNCOPIED_BYTES:
                return False
        # The background may be sending, but does not write: a state is pending until it is written and pruned, and only
        # this thread makes one so. What it sends is a list of whole files and the digest of the best, each compared.
        if not self._put(Snapshot(state, step, best)):
            return False
        if self._stored is None:
            self._prune()
            return True
        with self._lock:
            self._unsent += 1
            self._begin_work()
        return True

    def _begin_work(self) -> None:
        """Let the background work, if it does not yet; call it under the lock."""
        if self._idle.is_set():
            self._idle.clear()
            threading.Thread(target=self._work, name="checkpoint", daemon=True).start()

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
            if self._stored is not None:
                names.add(self._stored.newest())
        except MissingObject:
            pass
        except StoreError as error:
            if not names:
                raise
            log.warning("The store does not say which checkpoint is the newest; the one here is taken. %s", error)
        return max(names, default=None)

    def fetch(self, name: str) -> bool:
        """Bring the checkpoint `name` from the store if it is not in the local folder; return True if it is there
        then.
        """
        path = self.folder / name
        if not path.exists() and self._stored is not None:
            self._stored.fetch(name, path)
        return path.exists()

    def load(self, name: str) -> dict[str, Any]:
        """Return the state that checkpoint `name` holds.

        Raises:
            CheckpointError: it is neither here nor in the store, or damaged.
        """
        self.fetch(name)
        return read_checkpoint(self.folder / name)

    def send_rest(self) -> None:
        """Send, in the background, what an earlier process has written and not sent; remove what it had begun to."""
        if self._stored is None or not (files := self._files()):
            return
        try:
            if self._stored.newest() == files[-1].name:
                self._stored.remove_unfinished()
                return
        except StoreError as error:  # sending tells more, and tries again
            log.debug("The store does not say which checkpoint is the newest: %s", error)
        with self._lock:
            self._unsent += 1
            self._begin_work()

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
        if found is None and fetch and self._stored is not None:
            found = self._stored.fetch_best(self.folder, best)
        self.best = found
        return found is not None

    def fetch_metrics(self) -> None:
        """Bring the metrics here, where those that are here end before those in the store."""
        if self._stored is not None:
            self._stored.fetch_metrics()

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
            sending = self._unsent > 0 and (snapshot is None or not sending)
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
        if not self._put(snapshot):
            return False
        self._prune()
        with self._lock:
            self._pending = {key: other for key, other in self._pending.items() if other is not snapshot}
            self._unsent += int(self._stored is not None)
        return True

    def _put(self, snapshot: Snapshot) -> bool:
        path = self.folder / f"step-{snapshot.step:010d}.ckpt"
        try:
            self._remove_unfinished()
            own = BestCheckpoint(snapshot.step, "")
            write_checkpoint(with_best(snapshot.state, own if snapshot.best else self.best), path)
            if snapshot.best:
                digest = sha256_of(path)
                link_atomically(path, self.folder / BEST)
                self.best = BestCheckpoint(snapshot.step, digest)
        except (OSError, RuntimeError) as error:  # torch turns some of the disk's errors into the latter
            log.warning(
                "Checkpoint %s could not be written (%s). Training goes on; the previous one stays, and this is tried "
                "again.",
                *(path, error),
            )
            return False
        return True

    def _prune(self) -> None:
        with suppress(OSError):  # then it is removed with the next
            for old in self._files()[: -self.keep]:
                old.unlink(missing_ok=True)

    def _remove_unfinished(self) -> None:
        """Remove, once, what a process that was killed while it wrote has left."""
        if not self._cleaned:
            for path in self.folder.glob(".*.tmp"):
                path.unlink(missing_ok=True)
            self._cleaned = True

    def _send(self) -> bool:
        assert self._stored is not None
        self._prune()
        written = self._unsent
        if not self._stored.send(self._files(), self.best):
            return False
        with self._lock:
            self._unsent -= written
        return True
