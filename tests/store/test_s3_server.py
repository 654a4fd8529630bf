"""The S3 store when the server refuses, is not there, or dies; and the server itself."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlparse

import psutil
import pytest
from relay import relay

from oaml_core.embedded_s3 import embedded_s3
from oaml_core.errors import ConfigError, StoreError
from oaml_core.store import Store, open_store

CONTENT = os.urandom(12 * 2**20)


@contextmanager
def serving(folder: Path) -> Iterator[Store]:
    """A store on a server of its own over `folder`."""
    with embedded_s3(folder) as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield open_store("s3://oaml/x")


def server_process() -> psutil.Process:
    """The newest rclone that this process has started."""
    children = [child for child in psutil.Process().children() if child.name().startswith("rclone")]
    return max(children, key=lambda child: child.create_time())


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY is wrong"),
        ("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID is not known"),
    ],
)
def test_wrong_credentials_are_named_but_not_shown(
    s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, variable: str, message: str
) -> None:
    monkeypatch.setenv(variable, "wrong-1234567890")
    with pytest.raises(StoreError, match=message) as raised:
        open_store("s3://oaml/x")
    shown = str(raised.value)
    assert not any(secret in shown for secret in ("wrong-1234567890", *list(s3_environment.values())[1:3]))


@pytest.mark.parametrize("variable", ["OAML_S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_missing_settings_are_named(
    s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv(variable)
    with pytest.raises(StoreError, match=f"needs {variable} in the environment"):
        open_store("s3://oaml/x")


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9000", "ftp://x", "http://host/path"])
def test_an_endpoint_that_is_none(
    s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("OAML_S3_ENDPOINT", endpoint)
    with pytest.raises(ConfigError, match="http://host:port"):
        open_store("s3://oaml/x")


def test_a_bucket_that_cannot_be(s3_environment: dict[str, str]) -> None:
    with pytest.raises(StoreError, match="s3://NO"):
        open_store("s3://NO/x")


def test_reading_makes_no_bucket(s3_environment: dict[str, str], s3_folder: Path, tmp_path: Path) -> None:
    store = open_store("s3://mistyped/x")
    assert not store.is_made()
    assert not store.exists("a")
    assert list(store.list()) == []
    with pytest.raises(StoreError, match=r"NoSuchBucket: the bucket does not exist: create it, or correct"):
        store.read_bytes("a")
    with pytest.raises(StoreError, match="nothing below s3://mistyped/x"):
        store.get_tree("", tmp_path / "tree")
    assert not (s3_folder / "mistyped").exists()


def test_more_objects_than_a_server_lists_at_a_time(tmp_path: Path) -> None:
    keys = [f"many/{number:04d}" for number in range(2100)]
    (tmp_path / "oaml" / "x" / "many").mkdir(parents=True)
    for key in keys:
        (tmp_path / "oaml" / "x" / key).touch()
    with serving(tmp_path) as store:
        assert [info.key for info in store.list("many/")] == keys


def test_putting_makes_the_bucket(s3_environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for number in range(20):
        (tmp_path / "tree" / str(number)).write_text(str(number))
    store = open_store("s3://new-bucket/x")
    store.put_tree(tmp_path / "tree", "t")
    assert store.is_made()
    assert len(list(open_store("s3://new-bucket/x").list("t/"))) == 20


def test_missing_certificates_are_named(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAML_S3_CA_BUNDLE", "/no/such.pem")
    with pytest.raises(StoreError, match=r"OAML_S3_CA_BUNDLE: there is no file /no/such\.pem"):
        open_store("s3://oaml/x")


def test_an_unreachable_server_is_named(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oaml_core.store.s3_client.FIRST_WAIT", 0.01)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("OAML_S3_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(StoreError, match=r"s3://oaml/x cannot be reached.*OAML_S3_ENDPOINT"):
            open_store("s3://oaml/x")


def test_something_else_that_answers(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A web page instead of S3, as a proxy in between serves it."""
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<html>maintenance</html>"
            self.send_response(503)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            return

    monkeypatch.setattr("oaml_core.store.s3_client.FIRST_WAIT", 0.01)
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OAML_S3_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(StoreError, match="s3://oaml/x"):
            open_store("s3://oaml/x")
        server.shutdown()


def test_a_server_that_comes_back_is_waited_for(tmp_path: Path) -> None:
    with serving(tmp_path / "s3") as store:
        process = server_process()
        process.suspend()
        threading.Timer(0.5, process.resume).start()
        store.write_bytes("late", b"1")
        assert store.read_bytes("late") == b"1"


def test_objects_outlive_the_server_with_their_sha256(tmp_path: Path) -> None:
    with serving(tmp_path / "s3") as store:
        info = store.write_bytes("a/b", CONTENT)
    path = tmp_path / "s3" / "oaml" / "x" / "a" / "b"
    path.write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    with serving(tmp_path / "s3") as store:
        assert store.stat("a/b") == info
        with pytest.raises(StoreError, match="damaged"):
            store.read_bytes("a/b")


@pytest.mark.parametrize("new", [b"new", b"a longer one"])
def test_an_object_whose_replacement_was_cut_short_is_still_the_old_one(tmp_path: Path, new: bytes) -> None:
    """As a machine that loses power between the two requests of a put leaves it."""
    with serving(tmp_path / "s3") as store:
        store.write_bytes("pointer", b"old")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "_send", lambda *_: pytest.fail("power lost"))
            with pytest.raises(pytest.fail.Exception):
                store.write_bytes("pointer", new)
    with serving(tmp_path / "s3") as store:
        assert store.read_bytes("pointer") == b"old"
        store.write_bytes("pointer", new)
    with serving(tmp_path / "s3") as store:
        assert store.read_bytes("pointer") == new
    (tmp_path / "s3" / "oaml" / "x" / "pointer").write_bytes(new[::-1])
    with serving(tmp_path / "s3") as store, pytest.raises(StoreError, match="damaged"):
        store.read_bytes("pointer")


def test_what_the_server_stores_is_a_folder_store_as_well(tmp_path: Path) -> None:
    with serving(tmp_path / "s3") as store:
        info = store.write_bytes("a/b", CONTENT)
    folder = open_store(str(tmp_path / "s3" / "oaml" / "x"))
    assert folder.stat("a/b") == info
    assert folder.read_bytes("a/b") == CONTENT


@pytest.mark.parametrize("copies", [1, 5], ids=["one part", "several parts"])
def test_a_server_killed_in_mid_upload_leaves_no_readable_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: int
) -> None:
    monkeypatch.setattr("oaml_core.store.s3_client.FIRST_WAIT", 0.01)
    source, back, folder = tmp_path / "source", tmp_path / "back", tmp_path / "s3"
    source.write_bytes(CONTENT * copies)
    with embedded_s3(folder) as variables, relay(urlparse(variables["OAML_S3_ENDPOINT"]).port or 0) as wire:
        for name, value in {**variables, "OAML_S3_ENDPOINT": f"http://127.0.0.1:{wire.port}"}.items():
            monkeypatch.setenv(name, value)
        store, server = open_store("s3://oaml/x"), server_process()
        wire.cut_after("sent", source.stat().st_size // 2, server.kill)
        with pytest.raises(StoreError, match="cannot be reached"):
            store.put_file(source, "model.ckpt")
        server.wait(timeout=20)
    with serving(folder) as store:
        assert not store.exists("model.ckpt")
        with pytest.raises(StoreError):
            store.get_file("model.ckpt", back)
        assert not back.exists()
        store.put_file(source, "model.ckpt")
        store.get_file("model.ckpt", back)
        assert back.read_bytes() == source.read_bytes()


def test_a_half_object_is_none(tmp_path: Path) -> None:
    with serving(tmp_path / "s3") as store:
        store.write_bytes("model.ckpt", CONTENT)
    os.truncate(tmp_path / "s3" / "oaml" / "x" / "model.ckpt", len(CONTENT) // 2)
    with serving(tmp_path / "s3") as store:
        assert not store.exists("model.ckpt")
        with pytest.raises(StoreError, match="not whole"):
            store.read_bytes("model.ckpt")
        store.write_bytes("model.ckpt", CONTENT)
        assert store.read_bytes("model.ckpt") == CONTENT


def test_a_clock_that_is_off_is_named(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    import minio.time

    late = minio.time.utcnow() - timedelta(hours=1)
    monkeypatch.setattr("minio.time.utcnow", lambda: late)
    with pytest.raises(StoreError, match="the clock of this machine and the server's differ by 60 minutes"):
        open_store("s3://oaml/x")


def test_tls_where_there_is_none_is_named(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oaml_core.store.s3_client.FIRST_WAIT", 0.01)
    monkeypatch.setenv("OAML_S3_ENDPOINT", s3_environment["OAML_S3_ENDPOINT"].replace("http:", "https:"))
    with pytest.raises(StoreError, match="whether OAML_S3_ENDPOINT begins with http:// or https://"):
        open_store("s3://oaml/x")
