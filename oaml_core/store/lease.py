"""One holder at a time of a name in a store, on any machine: tickets that expire.

S3 servers differ in whether they know conditional writes, but all list what was put before. Whoever wants a lease puts
a ticket and then lists: it holds the lease if its ticket is the only one. Two that come at once see one another, take
their tickets back, and try again after random pauses. Ages are told by the store's clock alone.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta

from oaml_core.errors import HeldError, StoreError
from oaml_core.processes import holder_name, is_gone
from oaml_core.store.base import ObjectInfo, Store

log = logging.getLogger(__name__)

LEASES = "leases"
"""Prefix of tickets: `leases/<name>/<ticket>`."""
EXPIRES = timedelta(seconds=60)
"""Age of a ticket whose holder is taken for dead."""
PATIENCE = timedelta(seconds=120)
PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
RENEWALS = 4
"""Renewals of a kept lease per time of expiry."""


@dataclass(frozen=True)
class Lease:
    """A name that this process holds."""

    store: Store
    ticket: str
    """Key of the holder's ticket."""
    holder: str
    """Text of the ticket: who holds it."""
    lost: threading.Event = field(default_factory=threading.Event)
    """Set when a kept lease has expired all the same, as after a sleep of the machine."""

    def require(self) -> None:
        """Return if the lease is still held.

        Raises:
            HeldError: it has expired, and somebody else may hold it.
        """
        if not self.store.exists(self.ticket):
            raise HeldError(
                f"{self.store.url(self.ticket)} has expired before the work was done, and nothing was written. Run the "
                "same command again."
            )

    def renew(self) -> None:
        """Let the time of expiry begin again.

        Raises:
            HeldError: the lease has expired already.
            StoreError: the store cannot be written.
        """
        self.require()
        self.store.write_bytes(self.ticket, f"{self.holder}, {time.time_ns()}".encode())  # other bytes: it is sent


@contextmanager
def lease(
    store: Store, name: str, expires: timedelta = EXPIRES, patience: timedelta = PATIENCE, *, kept: bool = False
) -> Iterator[Lease]:
    """Hold `name` in `store` while the block runs; others wait.

    Args:
        store: where all who want the name look.
        name: part of a key.
        expires: age after which a ticket is taken away; the block must be through before, unless `kept`.
        patience: longest wait for another holder.
        kept: renew the ticket while the block runs, for work of unknown length.

    Raises:
        HeldError: somebody else holds it for longer than `patience`; says who.
    """
    held = _wait_for(store, f"{LEASES}/{name}", expires, patience)
    done = threading.Event()
    keeper = threading.Thread(target=_keep, args=(held, expires, done), name="lease", daemon=True)
    if kept:
        keeper.start()
    try:
        yield held
    finally:
        done.set()
        if kept:
            keeper.join()
        with suppress(StoreError):  # it expires
            store.delete(held.ticket)


def _keep(held: Lease, expires: timedelta, done: threading.Event) -> None:
    """Renew a ticket until `done`; a store that fails for a while, or a disk that is full, is asked again."""
    while not done.wait(expires.total_seconds() / RENEWALS):
        try:
            held.renew()
        except HeldError:
            held.lost.set()
            return
        except (StoreError, OSError) as error:
            log.warning("The lease %s cannot be renewed: %s", held.ticket, error)


def _wait_for(store: Store, prefix: str, expires: timedelta, patience: timedelta) -> Lease:
    deadline, pause = time.monotonic() + patience.total_seconds(), PAUSE_SECONDS
    holder, told = holder_name(), False
    while True:
        ticket = f"{prefix}/{secrets.token_hex(8)}"
        store.write_bytes(ticket, holder.encode())
        others = _others(store, prefix, ticket, expires)
        if others is not None and not others:
            return Lease(store, ticket, holder)
        store.delete(ticket)
        if time.monotonic() > deadline:
            raise HeldError(
                f"{store.url(prefix)} is held by {_holder(store, others)}. Wait until that is through, or end it; what "
                f"it leaves expires after {expires.total_seconds():.0f} s."
            )
        if pause >= LONGEST_PAUSE_SECONDS and not told:
            told = True
            log.warning("%s is held by %s; waiting.", store.url(prefix), _holder(store, others))
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _others(store: Store, prefix: str, own: str, expires: timedelta) -> list[ObjectInfo] | None:
    """Tickets of others that are at work, the rest removed; None if the own ticket was taken away."""
    tickets = {info.key: info for info in store.list(f"{prefix}/")}
    if own not in tickets:
        return None
    now, others = tickets.pop(own).modified, []
    for info in tickets.values():
        expired = now is not None and info.modified is not None and now - info.modified > expires
        if expired or _is_left(store, info):
            log.warning("%s was left by a process that is gone; it is removed.", store.url(info.key))
            store.delete(info.key)
        else:
            others.append(info)
    return others


def for_people(holder: str) -> str:
    """Host, process and time of a `holder_name`."""
    return ", ".join(part for part in holder.split(", ")[:3] if part) or "somebody else"


def _is_left(store: Store, info: ObjectInfo) -> bool:
    """Return True if the process that put a ticket has ended on this machine; what cannot be read expires."""
    with suppress(StoreError):
        return is_gone(store.read_bytes(info.key).decode(errors="replace"))
    return False


def _holder(store: Store, others: list[ObjectInfo] | None) -> str:
    for info in others or []:
        with suppress(StoreError):
            return for_people(store.read_bytes(info.key).decode(errors="replace"))
    return "somebody else"
