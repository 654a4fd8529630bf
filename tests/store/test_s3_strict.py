"""Every passing fault of a strict S3 server is survived, and what cannot be right is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from strict_server import StrictServer, strict_server

from oaml_core.errors import StoreError
from oaml_core.store import Store, open_store, s3_client, s3_streams
from oaml_core.store.traffic import metered


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictServer]:
    monkeypatch.setattr(s3_client, "FIRST_WAIT", 0.0)
    with strict_server(monkeypatch) as found:
        yield found


@pytest.fixture
def store(server: StrictServer) -> Store:
    return open_store("s3://strict")


PASSING = {
    "429": (429, "TooManyRequests"),
    "throttling": (400, "ThrottlingException"),
    "slow down": (503, "SlowDown"),
    "time-out": (400, "RequestTimeout"),
    "own code": (503, "TryLater"),
    "reset": "reset",
    "cut": "cut",
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_every_request_survives_a_passing_fault(server: StrictServer, store: Store, fault: Any) -> None:
    server.faults = [fault]
    store.write_bytes("a", b"content of a")
    server.faults = [fault, fault]
    assert store.read_bytes("a") == b"content of a"
    server.faults = [fault]
    assert [info.key for info in store.list()] == ["a"]
    server.faults = [fault]
    assert store.stat("a").size == 12
    server.faults = [fault]
    store.delete("a")
    assert not store.exists("a")
    assert server.refused == []


@pytest.mark.parametrize("fault", ["short xml", "empty xml", "cut"])
def test_half_a_listing_is_asked_for_again(server: StrictServer, store: Store, fault: str) -> None:
    for number in range(8):
        store.write_bytes(f"n{number}", b"x")
    server.faults = [None, fault]
    assert len(list(store.list())) == 8
    server.faults = [fault] * 50
    with pytest.raises(StoreError):
        list(store.list())


def test_a_listing_without_end_is_told(server: StrictServer, store: Store) -> None:
    store.write_bytes("a", b"x")
    server.never_ends = True
    with pytest.raises(StoreError, match="has no end"):
        list(store.list())


@pytest.mark.parametrize("by_others", [False, True])
def test_a_bit_flipped_on_the_way_costs_a_second_fetch(server: StrictServer, store: Store, by_others: bool) -> None:
    store.write_bytes("a", b"content")
    if by_others:
        server.put_by_others("a", b"content")
    server.faults = ["flip"]
    assert store.read_bytes("a") == b"content"


def test_an_object_of_others_that_differs_each_time_is_refused(server: StrictServer, store: Store) -> None:
    server.put_by_others("a", b"content")
    server.etags = "one"
    assert store.read_bytes("a") == b"content"
    server.faults = ["flip"]
    with pytest.raises(StoreError, match="another content each time"):
        store.read_bytes("a")


def test_what_was_damaged_at_rest_is_refused(server: StrictServer, store: Store) -> None:
    store.write_bytes("a", b"content")
    server.objects["a"] = (b"cOntent", server.objects["a"][1])
    with pytest.raises(StoreError, match="is damaged"):
        store.read_bytes("a")


def test_an_object_that_is_not_as_long_as_listed_is_fetched_twice(
    server: StrictServer, store: Store, tmp_path: Path
) -> None:
    server.put_by_others("t/a", b"content")
    server.wrong_sizes["t/a"] = 3
    server.faults = [None, None, "flip"]
    with pytest.raises(StoreError, match="another content each time"):
        store.get_tree("t", tmp_path / "out")
    server.faults = []
    store.get_tree("t", tmp_path / "out")
    assert (tmp_path / "out" / "a").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("told", "instead", "says"),
    [
        ("<Size>1</Size>", "", "tells no size of a"),
        ("<Size>1</Size>", "<Size>-7</Size>", "tells no size of a"),
        ("<Size>1</Size>", "<Size>abc</Size>", "answers cannot be read"),
        ("<LastModified>2026", "<LastModified>99999", "answers cannot be read"),
    ],
)
def test_a_listing_that_tells_no_size_or_time_is_named(
    server: StrictServer, store: Store, told: str, instead: str, says: str
) -> None:
    server.put_by_others("a", b"x")
    server.listing_has = (told, instead)
    with pytest.raises(StoreError, match=says):
        list(store.list())


@pytest.mark.parametrize("status", [204, 206])
def test_part_of_an_object_is_not_taken_for_all_of_it(server: StrictServer, store: Store, status: int) -> None:
    server.put_by_others("a", b"content")
    server.faults = [status]
    assert store.read_bytes("a") == b"content"
    server.faults = [status] * 50
    with pytest.raises(StoreError, match=f"status {status} for a whole object"):
        store.read_bytes("a")


def test_an_answer_without_length_has_an_end(
    server: StrictServer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put_by_others("a", b"x" * 100_000)
    server.faults = ["chunked"]
    assert len(store.read_bytes("a")) == 100_000
    monkeypatch.setattr(s3_streams, "MOST_UNTOLD", 99_999)
    assert len(store.read_bytes("a")) == 100_000
    server.faults = ["chunked"] * 50
    with pytest.raises(StoreError, match="more than 99,999 bytes without a length"):
        store.read_bytes("a")


def test_a_server_without_ranges_is_told_and_not_read_at_the_wrong_place(server: StrictServer, store: Store) -> None:
    server.put_by_others("a", b"0123456789")
    assert store.read_range("a", 3, 4) == b"3456"
    assert store.read_range("a", 8, 4) == b"89"
    server.range_told = "bytes 0-3/10"
    with pytest.raises(StoreError, match="asked from byte 3 on, the server sends bytes 0-3/10"):
        store.read_range("a", 3, 4)
    server.knows_ranges = False
    assert store.read_range("a", 0, 12) == b"0123456789"
    for offset in (0, 3):
        with pytest.raises(StoreError, match="knows no ranges"):
            store.read_range("a", offset, 4)


OTHER_DIGESTS = ("{:X}", "see the manifest", "sha256:{:x}", "", "7XACtDnprIRfIjV9giusFERzD722AW0+yUMil7nsn3M=")


@pytest.mark.parametrize("told", OTHER_DIGESTS)
def test_metadata_of_other_tools_is_no_sha256_of_ours(server: StrictServer, store: Store, told: str) -> None:
    whole = int(hashlib.sha256(b"content").hexdigest(), 16)
    server.put("a", b"content", {"x-amz-meta-sha256": told.format(whole)})
    assert store.read_bytes("a") == b"content"
    assert store.is_intact("a") is True
    server.rotten["a"] = b"cOntent"
    server.put_by_others("b", b"sound")
    with pytest.raises(StoreError, match="is damaged"):
        store.read_bytes("a")


def test_wrong_keys_are_refused_by_the_server(server: StrictServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreError):
        open_store("s3://strict").write_bytes("a", b"x")
    assert set(server.refused) == {"the signature is wrong"}


def test_requests_and_bytes_are_those_that_the_server_sees(store: Store) -> None:
    store.write_bytes("a", b"x" * 1000)
    with metered() as traffic:
        store.read_bytes("a")
        assert (traffic().requests, traffic().bytes_read, traffic().bytes_written) == (1, 1000, 0)
        store.write_bytes("b", b"y" * 500)
        assert traffic().bytes_written == 500
