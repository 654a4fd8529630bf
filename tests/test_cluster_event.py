"""Events that tell a cluster what became of a night, against a server that checks them as Kubernetes does."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from oaml_core.cluster_event import record_event
from oaml_core.notify import notify

TOKEN = "token-of-the-account"
ROLE = Path(__file__).parents[1] / "k8s" / "base" / "night-role.yaml"


def certify(folder: Path) -> None:
    """Write `ca.crt` and `ca.key` of a server on loopback."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(datetime.now(UTC) - timedelta(days=1))
    made = made.not_valid_after(datetime.now(UTC) + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    (folder / "ca.crt").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "ca.key").write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))


def fault(event: dict[str, Any], namespace: str) -> str | None:
    """Return what a real API server has against an Event (validation of core/v1 Events)."""
    meta, about = event["metadata"], event["involvedObject"]
    if not (meta.get("name") or meta.get("generateName")):
        return "metadata.name: Required value"
    if meta["namespace"] != namespace or about["namespace"] != namespace:
        return "involvedObject.namespace: does not match event.namespace"
    if event["type"] not in ("Normal", "Warning") or not event["reason"] or len(event["reason"]) > 128:
        return "type or reason: Invalid value"
    if len(event["message"].encode()) > 1024:
        return "message: can have at most 1024 characters"
    for name in ("firstTimestamp", "lastTimestamp"):
        datetime.strptime(event[name], "%Y-%m-%dT%H:%M:%SZ")
    return None


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[dict[str, Any]], list[int]]]:
    """Events that a cluster has taken, and statuses that it answers with first."""
    taken: list[dict[str, Any]] = []
    statuses: list[int] = []

    class Api(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = statuses.pop(0) if statuses else 201
            if self.path != "/api/v1/namespaces/faces/events":
                status = 404
            elif self.headers["Authorization"] != f"Bearer {TOKEN}":
                status = 401
            elif fault(event, "faces"):
                status = 422
            if status == 201:
                taken.append(event)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    certify(tmp_path)
    (tmp_path / "token").write_text(TOKEN + "\n")
    (tmp_path / "namespace").write_text("faces")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.crt", tmp_path / "ca.key")
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr("oaml_core.cluster_event.ACCOUNT", tmp_path)
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.server_port))
        monkeypatch.setenv("KFP_POD_NAME", "nightly-abcde-system-container-impl-123")
        monkeypatch.setenv("KFP_POD_UID", "u-1")
        monkeypatch.delenv("OAML_WEBHOOK_URL", raising=False)
        yield taken, statuses
        server.shutdown()


def test_a_night_that_failed_is_an_event_beside_its_pod(cluster: tuple[list[dict[str, Any]], list[int]]) -> None:
    taken, statuses = cluster
    statuses.append(503)
    assert not notify("OAML, nightly: the night failed: train: broken", "NightFailed")  # there is no webhook
    (event,) = taken
    assert (event["reason"], event["type"]) == ("NightFailed", "Warning")
    assert event["message"] == "OAML, nightly: the night failed: train: broken"
    pod = event["involvedObject"]
    assert (pod["kind"], pod["name"], pod["uid"]) == ("Pod", "nightly-abcde-system-container-impl-123", "u-1")
    assert record_event("NightSkipped", "é" * 2000)
    assert (taken[1]["type"], len(taken[1]["message"])) == ("Normal", 512)


@pytest.mark.parametrize(("status", "told"), [(403, "apply k8s/base"), (422, r"refused an Event (422)")])
def test_an_event_that_is_refused_stops_nothing(
    status: int,
    told: str,
    cluster: tuple[list[dict[str, Any]], list[int]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster[1].append(status)
    assert not record_event("NightFailed", "x")
    assert told in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.usefixtures("cluster")
def test_another_server_gets_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    certify(other)
    (tmp_path / "ca.crt").write_bytes((other / "ca.crt").read_bytes())
    assert not record_event("NightFailed", "x")
    assert "cannot be reached" in caplog.text


@pytest.mark.parametrize("absent", ["KUBERNETES_SERVICE_HOST", "token"])
def test_outside_a_cluster_nothing_is_made(
    absent: str,
    cluster: tuple[list[dict[str, Any]], list[int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv(absent, raising=False)
    (tmp_path / absent).unlink(missing_ok=True)
    assert not record_event("NightFailed", "x")
    assert cluster[0] == []
    assert caplog.text == ""


def test_steps_may_make_events_and_nothing_else() -> None:
    role, binding = yaml.safe_load_all(ROLE.read_text())
    assert role["rules"] == [{"apiGroups": [""], "resources": ["events"], "verbs": ["create"]}]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
