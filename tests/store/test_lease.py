"""One holder at a time of a name in a store."""

from __future__ import annotations

import os
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from full_disk import full_disk

from oaml_core.errors import StoreError
from oaml_core.store import Store
from oaml_core.store.lease import lease


def test_one_holder_at_a_time(store: Store) -> None:
    store.write_bytes("count", b"0")
    inside: list[int] = []

    def add() -> None:
        for _ in range(3):
            with lease(store, "count"):
                inside.append(1)
                assert len(inside) == 1
                store.write_bytes("count", str(int(store.read_bytes("count")) + 1).encode())
                inside.pop()

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert store.read_bytes("count") == b"12"
    assert list(store.list("leases/")) == [], "no ticket is left"


def test_who_holds_it_is_said_and_what_a_killed_holder_leaves_expires(store: Store, root: Path) -> None:
    store.write_bytes("leases/count/killed", b"node-1, process 7")
    with (
        pytest.raises(StoreError, match=r"held by node-1, process 7.*expires after 60 s"),
        lease(store, "count", patience=timedelta(0)),
    ):
        pytest.fail("it is held")
    if store.uri.startswith("file:"):
        hour_ago = time.time() - 3600
        os.utime(root / "leases" / "count" / "killed", (hour_ago, hour_ago))
        with lease(store, "count", patience=timedelta(0)) as held:
            held.require()
    else:
        with lease(store, "count", expires=timedelta(seconds=-5), patience=timedelta(0)) as held:
            held.require()
    assert list(store.list("leases/")) == []


def test_a_holder_that_slept_too_long_writes_nothing(store: Store) -> None:
    with lease(store, "count") as held:
        store.delete(held.ticket)  # as others do when it has expired
        with pytest.raises(StoreError, match="has expired"):
            held.require()


def test_a_kept_lease_outlives_its_time_of_expiry(store: Store) -> None:
    with lease(store, "long", expires=timedelta(seconds=4), kept=True) as held:
        first = store.read_bytes(held.ticket)
        deadline = time.monotonic() + 60
        while store.read_bytes(held.ticket) == first and time.monotonic() < deadline:
            time.sleep(0.05)
        assert store.read_bytes(held.ticket) != first
        held.require()
    assert list(store.list("leases/")) == []


def test_a_kept_lease_outlives_a_full_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threading.excepthook", lambda died: pytest.fail(f"{died.thread} died"))
    with lease(store, "long", expires=timedelta(seconds=4), kept=True) as held:
        with full_disk(0):
            if store.uri.startswith("file:"):
                with pytest.raises(StoreError, match=r"File too large. .*raise the limit"):
                    store.write_bytes("a", b"b")
            else:  # it has a disk of its own, and small objects need none here
                before = store.read_range(held.ticket, 0, 1000)
            time.sleep(2.5)  # two renewals
            if not store.uri.startswith("file:"):
                assert store.read_range(held.ticket, 0, 1000) != before
        first = store.read_bytes(held.ticket)
        deadline = time.monotonic() + 30
        while store.read_bytes(held.ticket) == first and time.monotonic() < deadline:
            time.sleep(0.1)
        assert store.read_bytes(held.ticket) != first


def test_who_keeps_a_lease_learns_that_it_was_taken_away(store: Store) -> None:
    with lease(store, "long", expires=timedelta(seconds=4), kept=True) as held:
        store.delete(held.ticket)  # as others do when it has expired
        assert held.lost.wait(100)
