"""Where credentials are looked for, in which order, when they are renewed, and what is sent without any."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import urllib3

from oaml_core.errors import StoreError
from oaml_core.store import open_store, s3_credentials
from oaml_core.store.s3_client import connect
from oaml_core.store.s3_identity import container_agent, web_identity
from tests.store.identity_servers import Giver, serving

ARN = "arn:aws:iam::123456789012:role/oaml"


@pytest.fixture
def home(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty home, a server, and no keys in the environment."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY", "AWS_SECRET_KEY", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / ".aws").mkdir()
    return tmp_path


@pytest.fixture
def giver(home: Path, s3_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Giver]:
    with serving(Giver(s3_variables["AWS_ACCESS_KEY_ID"], s3_variables["AWS_SECRET_ACCESS_KEY"])) as there:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", there.url)
        yield there


def keys_as_settings(variables: dict[str, str]) -> str:
    return (
        f"aws_access_key_id = {variables['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {variables['AWS_SECRET_ACCESS_KEY']}\n"
    )


def works() -> None:
    store = open_store("s3://oaml/credentials")
    store.write_bytes("a", b"1")
    assert store.read_bytes("a") == b"1"


@pytest.mark.parametrize(
    ("file", "section", "profile"),
    [
        ("credentials", "default", None),
        ("credentials", "work", "work"),
        ("config", "profile work", "work"),
        ("config", "default", None),
        ("credentials", "DEFAULT", "DEFAULT"),
    ],
)
def test_shared_files_with_profiles(
    home: Path,
    s3_variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    section: str,
    profile: str | None,
) -> None:
    if profile:
        monkeypatch.setenv("AWS_PROFILE", profile)
    (home / ".aws" / file).write_text(f"[other]\nregion = x\n[{section}]\n{keys_as_settings(s3_variables)}")
    works()


def test_files_of_other_names_and_a_percent_sign_in_a_secret(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "keys").write_text("\ufeff[w]\naws_access_key_id=AK\naws_secret_access_key=a%b%(c)s\naws_session_token=T\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "keys"))
    monkeypatch.setenv("AWS_PROFILE", "w")
    found = dict(s3_credentials.ways_to_keys(None))["AWS's shared files"]()
    assert (found.secret_key, found.session_token) == ("a%b%(c)s", "T")


def test_a_credential_process_and_a_minio_alias(
    home: Path, s3_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    key, secret = (s3_variables[name] for name in names)
    (home / "out.json").write_text(json.dumps({"Version": 1, "AccessKeyId": key, "SecretAccessKey": secret}))
    code = f"print(open({str(home / 'out.json')!r}).read())"
    (home / ".aws" / "config").write_text(f'[default]\ncredential_process = "{sys.executable}" -S -c "{code}"\n')
    works()
    (home / ".aws" / "config").unlink()
    (home / ".mc").mkdir()
    alias = {"url": s3_variables["OAML_S3_ENDPOINT"], "accessKey": key, "secretKey": secret}
    others = {"s3": {"url": "https://s3.amazonaws.com", "accessKey": "no", "secretKey": "wrong-secret"}}
    (home / ".mc" / "config.json").write_text(json.dumps({"version": "10", "aliases": others | {"own": alias}}))
    works()


def test_a_role_is_assumed_by_a_signed_request(
    giver: Giver, home: Path, s3_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    giver.known, giver.session = {"AKSOURCE": "source-secret"}, "source-token"
    (home / ".aws" / "config").write_text(f"[profile team]\nrole_arn = {ARN}\nsource_profile = me\n")
    keys = "aws_access_key_id = AKSOURCE\naws_secret_access_key = {}\naws_session_token = source-token\n"
    monkeypatch.setenv("AWS_PROFILE", "team")
    (home / ".aws" / "credentials").write_text("[me]\n" + keys.format("source-secret"))
    works()
    assert giver.asked == ["AssumeRole"], "the keys are kept until they run out"
    (home / ".aws" / "credentials").write_text("[me]\n" + keys.format("another"))
    with pytest.raises(StoreError, match=r"Profile 'team'.*403 \(SignatureDoesNotMatch\)") as caught:
        works()
    assert "another" not in str(caught.value)


def test_a_profile_with_a_web_identity(giver: Giver, home: Path) -> None:
    (home / "token").write_text("a.web.token\n")
    settings = f"[default]\nrole_arn = {ARN}\nweb_identity_token_file = {home / 'token'}\n"
    (home / ".aws" / "config").write_text(settings)
    works()
    assert giver.asked == ["AssumeRoleWithWebIdentity"]


def test_the_role_of_a_machine(giver: Giver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", giver.url)
    works()
    assert giver.asked[0] == "PUT /latest/api/token"
    giver.role = ""
    with pytest.raises(StoreError, match=r"the machine's role \(the machine has no role\)"):
        works()


def test_a_metadata_service_without_tokens(giver: Giver, monkeypatch: pytest.MonkeyPatch) -> None:
    giver.tokens = False
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", giver.url)
    works()
    assert giver.asked[:2] == ["PUT /latest/api/token", "GET /latest/meta-data/iam/security-credentials/"]


@pytest.mark.parametrize("names", [("AWS_ACCESS_KEY", "AWS_SECRET_KEY"), ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY")])
def test_other_names_of_keys_in_the_environment(
    home: Path, s3_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, names: tuple[str, str]
) -> None:
    for name, usual in zip(names, ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), strict=True):
        monkeypatch.setenv(name, s3_variables[usual])
    works()


def test_a_store_of_ones_own_exchanges_tokens_itself(giver: Giver, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MinIO and Ceph do; a token for them is no business of AWS."""
    (home / "token").write_text("a.web.token")
    monkeypatch.delenv("AWS_ENDPOINT_URL_STS")
    monkeypatch.setenv("OAML_S3_ENDPOINT", giver.url)
    assert web_identity(urllib3.PoolManager(), ARN, str(home / "token")).access_key == giver.key
    assert giver.asked == ["AssumeRoleWithWebIdentity"]
    monkeypatch.setenv("OAML_S3_ENDPOINT", "https://s3.eu-central-1.amazonaws.com")
    monkeypatch.setenv("AWS_ENDPOINT_URL", giver.url)
    assert web_identity(urllib3.PoolManager(), ARN, str(home / "token")).access_key == giver.key


def test_an_account_without_a_home_has_no_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda _: {}["no such account"])
    with pytest.raises(StoreError, match="AWS's shared files"):
        works()


@pytest.mark.parametrize("content", ['["a"]', '{"aliases": ["a"]}', '{"aliases": {"a": "b"}}', "{"])
def test_a_damaged_minio_configuration_is_named(home: Path, content: str) -> None:
    (home / ".mc").mkdir()
    (home / ".mc" / "config.json").write_text(content)
    with pytest.raises(StoreError, match=r"config\.json.*mc alias set"):
        works()


def test_the_agent_of_a_container(giver: Giver, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    giver.agent_token = "Bearer x"
    (home / "agent").write_text("Bearer x\n")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{giver.url}/v1/credentials")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(home / "agent"))
    works()
    (home / "agent").write_text("Bearer y")
    with pytest.raises(StoreError, match=r"agent gives no credentials: .* answers 401"):
        works()


def test_an_agent_elsewhere_is_not_asked_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", raising=False)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://agent.example.com/v1")
    with pytest.raises(StoreError, match=r"agent\.example\.com.*https"):
        container_agent()


def test_without_any_the_error_names_all_ways_in_their_order(home: Path) -> None:
    with pytest.raises(StoreError) as caught:
        works()
    said = str(caught.value)
    places = [said.index(name) for name, _ in s3_credentials.ways_to_keys(None)]
    assert places == sorted(places)
    assert "OAML_S3_ANONYMOUS" in said
    assert "AWS_EC2_METADATA_DISABLED" in said


@pytest.mark.parametrize(
    ("settings", "profile", "said"),
    [
        ("[a]\nregion = x\n", "b", "there is no profile 'b'.*there are: a"),
        ("[a]\naws_access_key_id = AK\n", "a", "has no aws_secret_access_key"),
        ("[a]\nsso_session = s\n", "a", "aws sso login"),
        (f"[a]\nrole_arn = {ARN}\n", "a", "neither source_profile nor credential_source"),
        (f"[a]\nrole_arn = {ARN}\nsource_profile = c\n", "a", "names 'c', which there is not"),
        (
            f"[a]\nrole_arn = {ARN}\nsource_profile = b\n[b]\nrole_arn = {ARN}\nsource_profile = a\n",
            "a",
            "circle .*a → b → a",
        ),
        (f"[a]\nrole_arn = {ARN}\nmfa_serial = m\nsource_profile = a\n", "a", "second factor"),
        ("[a]\ncredential_process = /no/such/program\n", "a", "credential_process of profile 'a'"),
        ("[a]\nthe-secret-in-a-line-of-its-own\n", "a", "line 2 is neither"),
        ("the-secret-before-any-profile = 1\n", "a", "line 1 is neither"),
    ],
)
def test_files_that_lead_nowhere(
    home: Path, monkeypatch: pytest.MonkeyPatch, settings: str, profile: str, said: str
) -> None:
    (home / ".aws" / "credentials").write_text(settings)
    monkeypatch.setenv("AWS_PROFILE", profile)
    with pytest.raises(StoreError, match=said) as caught:
        works()
    assert "the-secret" not in str(caught.value)


def test_half_of_a_pair_is_told_before_anything_is_sent(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AK")
    with pytest.raises(StoreError, match="AWS_SECRET_ACCESS_KEY in the environment beside AWS_ACCESS_KEY_ID"):
        connect()


class Public:
    """A bucket that everybody may read from, and nobody may list or ask about."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.port = 0


@pytest.fixture
def public(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Public]:
    there = Public()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            there.requests.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
            is_object = self.command in ("GET", "HEAD") and self.path == "/data/faces/a.txt"
            body = b"public" if is_object else b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
            self.send_response(200 if is_object else 403)
            self.send_header("Content-Type", "text/plain" if is_object else "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
            self.send_header("ETag", '"e"')
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = answer

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OAML_S3_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("OAML_S3_ANONYMOUS", "1")
        monkeypatch.delenv("OAML_S3_FORGETS_METADATA", raising=False)
        yield there
        server.shutdown()


def test_anonymous_requests_carry_no_signature(
    public: Public, s3_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, s3_variables[name])  # keys that are there are not sent either
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    assert open_store("s3://data/faces").read_bytes("a.txt") == b"public"
    with pytest.raises(StoreError, match="does not allow it without credentials: unset OAML_S3_ANONYMOUS"):
        open_store("s3://data/faces").write_bytes("b.txt", b"2")
    assert {method for method, _, _ in public.requests} == {"GET", "HEAD"}
    for _, path, headers in public.requests:
        assert not {"authorization", "x-amz-security-token"} & set(headers)
        assert "signature" not in path.lower()
