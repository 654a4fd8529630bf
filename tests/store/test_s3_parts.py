"""Large objects in parts: what an interruption costs, counted on the wire of a real server."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pytest
from relay import Relay, relay

from oaml_core.embedded_s3 import embedded_s3
from oaml_core.errors import StoreError
from oaml_core.store import Store, open_store
from oaml_core.store.s3 import FORGETFUL
from oaml_core.store.s3_client import connect
from oaml_core.store.s3_parts import MOST_PARTS, PART_BYTES, parts_of

MB = 2**20
PARTS = 12
SLACK = 200_000
"""Bytes of headers and answers."""


def content(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a megabyte, and servers that are given up soon."""
    monkeypatch.setattr("oaml_core.store.s3_parts.PART_BYTES", MB)
    monkeypatch.setattr("oaml_core.store.s3.WHOLE_BYTES", MB)
    monkeypatch.setattr("oaml_core.store.s3_client.FIRST_WAIT", 0.005)


@pytest.fixture
def wire(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """What lies between the store and its server, which keeps metadata as others do."""
    with relay(urlparse(s3_environment["OAML_S3_ENDPOINT"]).port or 0) as made:
        monkeypatch.setenv("OAML_S3_ENDPOINT", f"http://127.0.0.1:{made.port}")
        monkeypatch.delenv(FORGETFUL)
        yield made


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return f"s3://oaml/{tmp_path.name}"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(content(PARTS * MB - 7))
    return path


def test_parts_cover_an_object_whatever_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oaml_core.store.s3_parts.PART_BYTES", PART_BYTES)
    for size in (0, 1, PART_BYTES, PART_BYTES + 1, PART_BYTES * MOST_PARTS + 1, 10 * PART_BYTES * MOST_PARTS):
        parts = parts_of(size)
        assert sum(part.length for part in parts) == size
        assert len(parts) <= MOST_PARTS
        ends = [part.start + part.length for part in parts]
        assert [part.start for part in parts] == [0, *ends][: len(parts)]
    assert parts_of(PART_BYTES * MOST_PARTS + 1)[0].length == 2 * PART_BYTES


def test_an_upload_goes_on_where_another_process_stopped(wire: Relay, prefix: str, source: Path) -> None:
    store = open_store(prefix)
    store.write_bytes("first", b"1")
    wire.cut_after("sent", 7 * MB)
    with pytest.raises(StoreError, match="cannot be reached"):
        store.put_file(source, "model.ckpt")
    wire.restore()
    before = wire.sent
    assert not store.exists("model.ckpt")
    info = open_store(prefix).put_file(source, "model.ckpt")
    assert wire.sent - before < (PARTS - 2) * MB
    assert open_store(prefix).stat("model.ckpt") == info
    assert store.read_bytes("model.ckpt") == source.read_bytes()


def test_a_cut_wire_costs_the_parts_on_it(wire: Relay, prefix: str, source: Path) -> None:
    store = open_store(prefix)
    store.write_bytes("first", b"1")
    before = wire.sent
    wire.cut_after("sent", 6 * MB)
    threading.Timer(0.3, wire.restore).start()
    store.put_file(source, "model.ckpt")
    assert wire.sent - before < (PARTS + 4) * MB + SLACK
    assert store.is_intact("model.ckpt")


def test_a_download_goes_on_where_another_process_stopped(
    wire: Relay, prefix: str, source: Path, tmp_path: Path
) -> None:
    store, back = open_store(prefix), tmp_path / "back" / "model.ckpt"
    store.put_file(source, "model.ckpt")
    wire.cut_after("received", 7 * MB)
    with pytest.raises(StoreError, match="cannot be reached"):
        store.get_file("model.ckpt", back)
    assert not back.exists()
    wire.restore()
    before = wire.received
    open_store(prefix).get_file("model.ckpt", back)
    assert wire.received - before < (PARTS - 2) * MB
    assert back.read_bytes() == source.read_bytes()
    assert list(back.parent.iterdir()) == [back]


def test_half_a_download_that_was_damaged_meanwhile_is_not_trusted(
    wire: Relay, prefix: str, source: Path, tmp_path: Path
) -> None:
    store, back = open_store(prefix), tmp_path / "back" / "model.ckpt"
    store.put_file(source, "model.ckpt")
    wire.cut_after("received", 7 * MB)
    with pytest.raises(StoreError):
        store.get_file("model.ckpt", back)
    wire.restore()
    (unfinished,) = back.parent.glob("*.part")
    unfinished.write_bytes(b"\0" * unfinished.stat().st_size)
    store.get_file("model.ckpt", back)
    assert back.read_bytes() == source.read_bytes()


def test_a_flipped_bit_in_a_large_object_is_noticed(
    wire: Relay, prefix: str, source: Path, tmp_path: Path, s3_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FORGETFUL, "1")  # of a file that was changed behind it, the server forgets the metadata
    store, back = open_store(prefix), tmp_path / "back" / "model.ckpt"
    store.put_file(source, "model.ckpt")
    with (s3_folder / prefix.removeprefix("s3://") / "model.ckpt").open("r+b") as file:
        file.seek(5 * MB)
        byte = file.read(1)
        file.seek(5 * MB)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(StoreError, match=r"model\.ckpt is damaged"):
        store.get_file("model.ckpt", back)
    assert list(back.parent.iterdir()) == []
    assert store.is_intact("model.ckpt") is False


@pytest.mark.parametrize("kept", [0, 3 * MB, PARTS * MB - 7], ids=["another file", "same beginning", "a longer file"])
def test_what_was_begun_for_another_file_does_no_harm(wire: Relay, prefix: str, source: Path, kept: int) -> None:
    """The key of an upload says nothing of its content, and the metadata of an upload is fixed when it begins."""
    store = open_store(prefix)
    store.write_bytes("first", b"1")
    wire.cut_after("sent", 7 * MB)
    with pytest.raises(StoreError):
        store.put_file(source, "last.ckpt")
    wire.restore()
    source.write_bytes(source.read_bytes()[:kept] + content(14 * MB - kept, seed=1))
    info = store.put_file(source, "last.ckpt")
    assert info.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert store.stat("last.ckpt") == info
    assert store.is_intact("last.ckpt")


def test_large_objects_of_others_come_in_parts_too(wire: Relay, prefix: str, source: Path, tmp_path: Path) -> None:
    store, key = open_store(prefix), prefix.removeprefix("s3://oaml/")
    store.write_bytes("first", b"1")
    connect().fput_object("oaml", f"{key}/theirs", str(source))
    store.get_file("theirs", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert store.is_intact("theirs") is None


def test_a_server_killed_in_the_middle_of_many_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What had arrived before stays; the rest follows when the server is back, within one call."""
    from test_s3_server import server_process

    tree, back = tmp_path / "tree", tmp_path / "back"
    sizes = [3 * MB, *[MB // 2] * 20, *[1000] * 60, 0]
    for number, size in enumerate(sizes):
        path = tree / f"{number % 3}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(size, seed=number))
    total = sum(sizes)
    monkeypatch.setattr("oaml_core.store.s3_client.FIRST_WAIT", 0.1)
    with embedded_s3(tmp_path / "s3") as variables:
        port = urlparse(variables["OAML_S3_ENDPOINT"]).port or 0
        keys = (variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"])
        with relay(port) as wire:
            for name, value in (variables | {"OAML_S3_ENDPOINT": f"http://127.0.0.1:{wire.port}"}).items():
                monkeypatch.setenv(name, value)
            store = open_store("s3://oaml/x")
            store.write_bytes("first", b"1")
            sending = threading.Thread(target=store.put_tree, args=(tree, "d"))
            server = server_process()
            sending.start()
            wait_until(lambda: wire.sent >= total // 2)
            server.kill()
            server.wait()
            with embedded_s3(tmp_path / "s3", port, keys):
                sending.join()
                assert wire.sent < 1.5 * total + 8 * MB
                fetch_and_compare(store, tree, back)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)


def fetch_and_compare(store: Store, tree: Path, back: Path) -> None:
    store.get_tree("d", back)
    names = sorted(path.relative_to(tree) for path in tree.rglob("*") if path.is_file())
    assert sorted(path.relative_to(back) for path in back.rglob("*") if path.is_file()) == names
    assert all((back / name).read_bytes() == (tree / name).read_bytes() for name in names)
    assert all(store.is_intact(info.key) for info in store.list("d/"))


def test_progress_goes_back_by_what_must_be_sent_again(wire: Relay, prefix: str, source: Path) -> None:
    """As when the server has forgotten the upload: the bar ends at the file's size, not beyond."""
    store = open_store(prefix)
    store.write_bytes("first", b"1")
    told: list[int] = []
    client = store._parts._client  # type: ignore[attr-defined]
    complete = client._complete_multipart_upload

    def forgotten(*arguments: object) -> object:
        client._complete_multipart_upload = complete
        client._abort_multipart_upload(*arguments[:3])
        return complete(*arguments)

    client._complete_multipart_upload = forgotten
    store._put(source, "model.ckpt", told.append, True)
    assert min(told) < 0
    assert sum(told) == source.stat().st_size
