"""S3 over TLS, with the certificate of a private authority."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oaml_core.embedded_s3 import free_port, rclone_program
from oaml_core.errors import StoreError
from oaml_core.store import open_store

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here to make a certificate with")
MAKE_CERTIFICATE = "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=oaml"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", *MAKE_CERTIFICATE.split(), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "cert.pem"


@pytest.fixture(scope="module")
def endpoint(certificate: Path) -> Iterator[str]:
    folder, port = certificate.parent, free_port()
    options = ["--cert", str(certificate), "--key", str(folder / "key.pem"), "--auth-key", "key,secret"]
    server = subprocess.Popen([rclone_program(), "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}", *options])
    deadline = time.monotonic() + 20
    while socket.socket().connect_ex(("127.0.0.1", port)) and time.monotonic() < deadline:
        time.sleep(0.02)
    yield f"https://127.0.0.1:{port}"
    server.terminate()
    server.wait()


@pytest.fixture(autouse=True)
def environment(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAML_S3_ENDPOINT", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.delenv("OAML_S3_CA_BUNDLE", raising=False)


def test_the_named_authority_is_trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAML_S3_CA_BUNDLE", str(certificate))
    store = open_store("s3://private/x")
    store.write_bytes("a", b"1")
    assert store.read_bytes("a") == b"1"


def test_others_are_not(certificate: Path) -> None:
    with pytest.raises(StoreError, match=r"certificate is not trusted here.*OAML_S3_CA_BUNDLE"):
        open_store("s3://private/x")
