"""One launcher at a time per run: a lock in the run's folder, and a lease in the store for other machines."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from io import TextIOWrapper
from pathlib import Path

from oaml_core.errors import HeldError
from oaml_core.file_lock import hold_alone
from oaml_core.orderly_end import ends_in_its_own_time
from oaml_core.processes import holder_name, is_gone
from oaml_core.store import Store
from oaml_core.store.lease import Lease, for_people, lease

log = logging.getLogger(__name__)

LOCK = ".lock"
"""In the run's folder: names its holder, and is locked for as long as the holder or its agent lives."""
PATIENCE = timedelta(seconds=90)
"""Longest wait for what a killed launcher has left: longer than its lease takes to expire."""
POLL_SECONDS = 0.25
SHARED = ("PET_RDZV_ENDPOINT", "PET_MASTER_ADDR", "OAML_RDZV_ENDPOINT")
"""Variables that name a meeting place of several launchers, which train one run together."""


@dataclass(frozen=True)
class RunLock:
    """A run that this process alone trains, or trains together with others."""

    run_dir: Path
    descriptors: tuple[int, ...] = ()
    """File descriptors of the lock; a child that inherits them keeps the run locked until it ends, too."""
    lease: Lease | None = None

    @property
    def is_lost(self) -> bool:
        """Return True if the lease has expired, so that another process may train the run by now."""
        return self.lease is not None and self.lease.lost.is_set()

    def require(self) -> None:
        """Return if the run is still this process' own.

        Raises:
            HeldError: it is not.
        """
        if self.is_lost:
            raise HeldError(
                f"{self.run_dir.name}: the lease of this run in the store has expired, as after a sleep of the "
                "machine, and somebody else may train it. Training stops here. The same command goes on from the "
                "newest checkpoint, or says who trains."
            )


def is_shared() -> bool:
    """Return True if the environment says that several launchers or workers outside of one train the same run."""
    return any(os.environ.get(name) for name in SHARED) or os.environ.get("WORLD_SIZE", "1") not in ("", "1")


@contextmanager
def only_launcher(run_dir: Path, store: Store, prefix: str) -> Iterator[RunLock]:
    """Keep other launchers from a run while the block trains it.

    A second launcher on this machine is refused at once; what a killed one has left is waited for. On other machines,
    and in other work folders, a launcher waits until the lease in the store would have expired. Launchers that meet
    one another, as the nodes of a job do, are all let in.

    Args:
        run_dir: folder of the run, which exists.
        store, prefix: where the run's checkpoints go.

    Raises:
        HeldError: somebody else trains the run; says who and since when.
    """
    if is_shared():
        yield RunLock(run_dir)
        return
    with (run_dir / LOCK).open("a+") as file:
        _lock(file, run_dir)
        with _leased(store, prefix, run_dir) as held:
            yield RunLock(run_dir, (file.fileno(),), held)


@contextmanager
def stopped_when_lost(lock: RunLock) -> Iterator[None]:
    """Ask the training in this process, the block, for an orderly end when the lock is lost.

    Raises:
        HeldError: it was lost.
    """
    done = threading.Event()
    watch = threading.Thread(target=_stop_when_lost, args=(lock, done), name="run lock", daemon=True)
    watch.start()
    try:
        yield
    except SystemExit:
        lock.require()
        raise
    finally:
        done.set()
        watch.join()


def _stop_when_lost(lock: RunLock, done: threading.Event) -> None:
    while not done.wait(POLL_SECONDS):
        if lock.is_lost and ends_in_its_own_time():
            os.kill(os.getpid(), signal.SIGTERM)
            return


@contextmanager
def _leased(store: Store, prefix: str, run_dir: Path) -> Iterator[Lease]:
    with ExitStack() as stack:
        try:
            held = stack.enter_context(lease(store, prefix, patience=PATIENCE, kept=True))
        except HeldError as error:
            raise HeldError(f"{run_dir.name} is trained already. {error}") from None
        yield held


def _lock(file: TextIOWrapper, run_dir: Path) -> None:
    """Lock the file and write who holds it."""
    deadline, told = time.monotonic() + PATIENCE.total_seconds(), False
    while not _is_locked(file):
        file.seek(0)
        holder = file.read()
        if (holder and not is_gone(holder)) or time.monotonic() > deadline:
            raise HeldError(
                f"{run_dir} is trained already by {for_people(holder)}. Wait until that is through, or end it: the "
                "same command then goes on from the newest checkpoint."
            )
        if not told:
            told = True
            log.warning("%s: waiting for the end of what %s has left.", run_dir.name, for_people(holder))
        time.sleep(POLL_SECONDS)
    file.seek(0)
    file.truncate()
    file.write(holder_name())
    file.flush()


def _is_locked(file: TextIOWrapper) -> bool:
    try:
        return hold_alone(file)
    except OSError as error:
        log.warning("%s cannot be locked (%s); the lease in the store alone guards the run.", file.name, error.strerror)
    return True
