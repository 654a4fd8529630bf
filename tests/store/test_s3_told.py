"""Objects that others put without our SHA-256, damaged at rest: what their server tells of them decides."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from strict_server import StrictServer, strict_server

from oaml_core.errors import StoreError
from oaml_core.store import Store, open_store, s3, s3_client, s3_parts

CONTENT, ROTTEN = b"content of a face", b"cOntent of a face"
CRC32 = zlib.crc32(CONTENT).to_bytes(4, "big")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictServer]:
    """A bucket in which another tool has put a sound object and a damaged one."""
    monkeypatch.setattr(s3_client, "FIRST_WAIT", 0.0)
    with strict_server(monkeypatch) as found:
        found.put_by_others("a", CONTENT)
        found.put_by_others("b", b"another")
        found.rotten["a"] = ROTTEN
        yield found


@pytest.fixture
def store(server: StrictServer) -> Store:
    return open_store("s3://strict")


def test_the_md5_of_another_content_is_damage(store: Store) -> None:
    with pytest.raises(StoreError, match=r"a is damaged: its content does not fit its ETag\. Put it there again"):
        store.read_bytes("a")
    assert store.is_intact("a") is False
    assert store.is_intact("b") is True


def test_what_a_server_is_like_is_asked_once(server: StrictServer, store: Store) -> None:
    for _ in range(3):
        with pytest.raises(StoreError, match="is damaged"):
            store.read_bytes("a")
    assert [request for request in server.requests if request == ("GET", "b")] == [("GET", "b")]


@pytest.mark.parametrize("etags", ["kms", "parts", "one of parts", "one"])
def test_etags_that_are_no_md5_tell_nothing(server: StrictServer, store: Store, etags: str) -> None:
    server.etags = etags
    assert store.read_bytes("a") == ROTTEN
    assert store.is_intact("a") is None


def test_alone_in_its_bucket_an_etag_shows_nothing(server: StrictServer, store: Store) -> None:
    del server.objects["b"]
    assert store.read_bytes("a") == ROTTEN


@pytest.mark.parametrize(
    "checksum",
    [
        {"x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()},
        {"x-amz-checksum-sha1": base64.b64encode(hashlib.sha1(CONTENT).digest()).decode()},
        {"x-amz-checksum-crc32": base64.b64encode(CRC32).decode(), "x-amz-checksum-type": "FULL_OBJECT"},
    ],
    ids=["sha256", "sha1", "crc32"],
)
@pytest.mark.parametrize("etags", ["kms", "parts", "one"])
def test_a_checksum_that_does_not_fit_is_damage_whatever_the_etag(
    server: StrictServer, store: Store, etags: str, checksum: dict[str, str]
) -> None:
    server.etags, server.checksums["a"] = etags, checksum
    with pytest.raises(StoreError, match=f"does not fit its {next(iter(checksum))}"):
        store.read_bytes("a")
    assert store.is_intact("a") is False
    del server.rotten["a"]
    assert store.read_bytes("a") == CONTENT


@pytest.mark.parametrize("told", ["AAAAAA==-2", "no base64", ""])
def test_checksums_of_parts_and_broken_ones_tell_nothing(server: StrictServer, store: Store, told: str) -> None:
    server.etags, server.checksums["a"] = "parts", {"x-amz-checksum-crc32": told}
    assert store.read_bytes("a") == ROTTEN


def test_a_large_object_is_judged_as_a_small_one(
    server: StrictServer, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_parts, "PART_BYTES", 8)
    monkeypatch.setattr(s3, "WHOLE_BYTES", 8)
    with pytest.raises(StoreError, match="a is damaged: its content does not fit its ETag"):
        store.get_file("a", tmp_path / "a")
    assert not (tmp_path / "a").exists()
    server.checksums["a"] = {"x-amz-checksum-crc32": base64.b64encode(CRC32).decode()}
    server.etags = "one of parts"
    with pytest.raises(StoreError, match="does not fit its x-amz-checksum-crc32"):
        store.get_file("a", tmp_path / "a")
    del server.rotten["a"]
    store.get_file("a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT
    server.etags = "md5"
    server.rotten["a"] = ROTTEN
    server.checksums.clear()
    server.put("c", CONTENT, {"x-amz-meta-sha256": hashlib.sha256(CONTENT).hexdigest()})
    store.get_file("c", tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == CONTENT


def test_our_own_sha256_is_all_that_is_compared(server: StrictServer, store: Store) -> None:
    store.write_bytes("mine", CONTENT)
    server.etags = "one"
    server.checksums["mine"] = {"x-amz-checksum-crc32": "AAAAAA=="}
    assert store.read_bytes("mine") == CONTENT
