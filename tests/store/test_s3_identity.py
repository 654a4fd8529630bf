"""A store that is opened by a pod's own identity, without keys in the environment."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from oaml_core.errors import ConfigError, StoreError
from oaml_core.store import open_store

ANSWER = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key}</AccessKeyId>
<SecretAccessKey>{secret}</SecretAccessKey><SessionToken>session</SessionToken><Expiration>{end}</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""


class Identity:
    """Plays the STS: whom it has been asked for, how long its keys are valid, and whether it refuses."""

    def __init__(self, key: str, secret: str) -> None:
        self.asked: list[dict[str, str]] = []
        self.seconds = 3600.0
        self.status = 200
        self._keys = {"key": key, "secret": secret}

    def answer(self, form: str) -> bytes:
        self.asked.append({name: values[0] for name, values in parse_qs(form).items()})
        end = datetime.now(UTC) + timedelta(seconds=self.seconds)
        return ANSWER.format(**self._keys, end=end.strftime("%Y-%m-%dT%H:%M:%SZ")).encode()


@pytest.fixture
def identity(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Identity]:
    """An environment as a cloud's webhook leaves it: a token and a role, no keys."""
    there = Identity(s3_environment["AWS_ACCESS_KEY_ID"], s3_environment["AWS_SECRET_ACCESS_KEY"])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            body = there.answer(query or self.path.partition("?")[2])
            self.send_response(there.status)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    token = tmp_path / "token"
    token.write_text("a.web.token")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/oaml")
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{server.server_port}")
        yield there
        server.shutdown()


def test_the_accounts_token_opens_the_store(identity: Identity) -> None:
    store = open_store("s3://oaml/identity")
    store.write_bytes("a", b"1")
    assert store.read_bytes("a") == b"1"
    (asked,) = identity.asked
    assert asked["Action"] == "AssumeRoleWithWebIdentity"
    assert asked["WebIdentityToken"] == "a.web.token"
    assert asked["RoleArn"] == "arn:aws:iam::1:role/oaml"


def test_keys_that_run_out_are_asked_for_again(identity: Identity) -> None:
    store = open_store("s3://oaml/identity")
    store.write_bytes("a", b"1")
    first = len(identity.asked)
    identity.seconds = -60
    fresh = open_store("s3://oaml/identity")
    fresh.write_bytes("b", b"2")
    fresh.write_bytes("c", b"3")
    assert len(identity.asked) >= first + 3


def test_keys_of_the_environment_come_first(
    identity: Identity, s3_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, s3_variables[name])
    open_store("s3://oaml/identity").write_bytes("a", b"1")
    assert identity.asked == []


def test_a_role_that_does_not_trust_the_account_is_said(identity: Identity) -> None:
    identity.status = 403
    with pytest.raises(StoreError, match=r"workload identity gives no credentials.*AWS_ROLE_ARN"):
        open_store("s3://oaml/identity").write_bytes("a", b"1")


def test_a_pod_of_another_account_has_no_token(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/none")
    with pytest.raises(StoreError, match="ServiceAccount"):
        open_store("s3://oaml/identity").write_bytes("a", b"1")


def test_an_endpoint_that_is_none(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "sts.example.com")
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL_STS must read"):
        open_store("s3://oaml/identity")


def test_without_keys_both_ways_are_named(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(StoreError, match=r"AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.*AWS_WEB_IDENTITY_TOKEN_FILE"):
        open_store("s3://oaml/x")
