"""Keys for a machine's own identity: a token exchanged for them, or an agent or the cloud's metadata that gives them.

Each function gives keys that run out, and raises `NoSuchWay` where the environment does not describe this way.
Protocols: https://docs.aws.amazon.com/STS/latest/APIReference/, and
https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import SplitResult, urlencode

from oaml_core.errors import StoreError
from oaml_core.structured_text import json_or_none
from oaml_core.web_addresses import web_address

WEB_TOKEN, ROLE = "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"
"""Environment variables that a cloud's webhook sets in the pods of an account that has a role:
https://docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html"""
FULL_URI, RELATIVE_URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
"""https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html"""
AGENT_TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
AGENT_HOST = "http://169.254.170.2"
AGENT_ADDRESSES = ("169.254.170.2", "169.254.170.23", "fd00:ec2::23")
"""Agents on the node; no other address beyond this machine is asked without TLS."""
STS_ENDPOINTS = ("AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL")
"""Environment variables: where tokens are exchanged. Without them it is the STS of AWS_REGION at AWS if the store is
there, and the store's own server if it is not, as MinIO and Ceph exchange tokens themselves."""
SERVER = "http://host:port or https://host:port"
AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn")
WITHOUT_TOKENS = (400, 403, 404, 405, 501)
"""Answers of a metadata service that does not know session tokens (IMDSv1)."""
METADATA, METADATA_OFF = "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_DISABLED"
METADATA_HOST = "http://169.254.169.254"
NEAR_SECONDS = 1.0
"""Limit for answers of agents and metadata, which are one hop away where they exist."""
STS_VERSION = "2011-06-15"


class NoSuchWay(Exception):
    """The environment does not describe this way; the message says how one sees that."""


def web_identity(pool: Any, role: str | None = None, token_file: str | None = None) -> Any:
    """Exchange the token of a ServiceAccount for keys (IRSA, and `AssumeRoleWithWebIdentity` of MinIO and Ceph).

    Args:
        pool: urllib3 pool for an STS endpoint of one's own, which may have a private authority.
        role: ARN of the role; None: `AWS_ROLE_ARN`.
        token_file: file of the token; None: `AWS_WEB_IDENTITY_TOKEN_FILE`.

    Returns:
        A `minio.credentials.Credentials`.

    Raises:
        NoSuchWay: no token is named. StoreError: the exchange fails.
    """
    path, role = token_file or os.environ.get(WEB_TOKEN), role or os.environ.get(ROLE)
    if not path:
        raise NoSuchWay(f"{WEB_TOKEN} is not set")
    try:
        with open(path, encoding="utf-8") as file:
            token = file.read().strip()
    except (OSError, UnicodeDecodeError):
        raise StoreError(
            f"The workload identity gives no credentials: there is no token {path}. Does the pod run as the "
            "ServiceAccount that has the role?"
        ) from None
    form = {"Action": "AssumeRoleWithWebIdentity", "WebIdentityToken": token}
    if role:
        form |= {"RoleArn": role, "RoleSessionName": os.environ.get("AWS_ROLE_SESSION_NAME") or "oaml"}
    remedy = f"Compare {ROLE} and the role's trust in the pod's ServiceAccount"
    return _ask_sts(pool, form, {}, f"The workload identity gives no credentials: {{}}. {remedy}.")


def assumed_role(pool: Any, role: str, source: Any, profile: str, external_id: str | None = None) -> Any:
    """Exchange keys for those of a role (`AssumeRole`).

    Args:
        pool: as for `web_identity`.
        role: ARN of the role.
        source: `minio.credentials.Credentials` that may assume it.
        profile: name of the profile that says so, for messages.
        external_id: secret between the two accounts, if the role asks for one.

    Returns:
        A `minio.credentials.Credentials`.

    Raises:
        StoreError: the exchange fails.
    """
    form = {"Action": "AssumeRole", "RoleArn": role}
    form["RoleSessionName"] = os.environ.get("AWS_ROLE_SESSION_NAME") or "oaml"
    if external_id:
        form["ExternalId"] = external_id
    message = f"Profile {profile!r} gives no credentials: {{}}. Compare its role_arn and the role's trust."
    return _ask_sts(pool, form, {"source": source}, message)


def container_agent() -> Any:
    """Ask the agent on the node for keys (EKS Pod Identity, ECS).

    Returns:
        A `minio.credentials.Credentials`.

    Raises:
        NoSuchWay: no agent is named. StoreError: its address is not to be trusted, or it gives none.
    """
    relative, full = os.environ.get(RELATIVE_URI), os.environ.get(FULL_URI)
    if not relative and not full:
        raise NoSuchWay(f"{RELATIVE_URI} and {FULL_URI} are not set")
    url = f"{AGENT_HOST}/{relative.lstrip('/')}" if relative else str(full)
    if not relative and not _may_be_asked(address := web_address(url, FULL_URI, "http://host:port/path")):
        raise StoreError(
            f"{FULL_URI} names {address.hostname}. Without TLS only this machine and "
            f"{', '.join(AGENT_ADDRESSES)} are asked for credentials: use https://."
        )
    token = os.environ.get(AGENT_TOKEN, "")
    if path := os.environ.get(f"{AGENT_TOKEN}_FILE"):
        try:
            with open(path, encoding="utf-8") as file:
                token = file.read()
        except (OSError, UnicodeDecodeError):
            raise StoreError(f"{AGENT_TOKEN}_FILE: {path} cannot be read.") from None
    headers = {"Authorization": token.strip()} if token.strip() else {}
    status, body = _ask_near("GET", url, headers)
    if status != 200:
        raise StoreError(f"The container's agent gives no credentials: {url} answers {status or 'nothing'}.")
    return _from_json(body, f"the container's agent at {url}")


def _may_be_asked(parts: SplitResult) -> bool:
    if parts.scheme == "https":
        return True
    host = parts.hostname or ""
    try:
        return host in AGENT_ADDRESSES or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def instance_role() -> Any:
    """Ask the cloud's metadata service (IMDSv2, else IMDSv1) for the keys of the machine's role.

    Returns:
        A `minio.credentials.Credentials`.

    Raises:
        NoSuchWay: it is switched off, does not answer, or knows no role. StoreError: it refuses or fails.
    """
    if os.environ.get(METADATA_OFF, "").lower() == "true":
        raise NoSuchWay(f"{METADATA_OFF} is true")
    host = web_address(os.environ.get(METADATA) or METADATA_HOST, METADATA, SERVER).geturl().rstrip("/")
    status, token = _ask_near("PUT", f"{host}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "21600"})
    if status != 200 and status not in WITHOUT_TOKENS:
        raise NoSuchWay(f"{host} answers {status or 'nothing'}")
    headers = {"X-aws-ec2-metadata-token": token.decode("latin-1").strip()} if status == 200 else {}
    roles = f"{host}/latest/meta-data/iam/security-credentials/"
    status, names = _ask_near("GET", roles, headers)
    if status != 200 or not names.split():
        raise NoSuchWay("the machine has no role")
    status, body = _ask_near("GET", roles + names.split()[0].decode("latin-1"), headers)
    if status != 200:
        raise StoreError(f"The metadata service gives no credentials: it answers {status or 'nothing'} for its role.")
    return _from_json(body, "the metadata service")


def from_process_json(body: bytes, where: str) -> Any:
    """Read keys as a credential process prints them; raises StoreError if there are none."""
    return _from_json(body, where, token="SessionToken")


def _from_json(body: bytes, where: str, token: str = "Token") -> Any:
    from minio.credentials.credentials import Credentials

    try:
        found = json_or_none(body)
        if found.get("Code", "Success") != "Success":
            raise StoreError(f"No credentials from {where}: {str(found['Code'])[:100]}.")
        end = found.get("Expiration")
        return Credentials(found["AccessKeyId"], found["SecretAccessKey"], found.get(token) or None, end and _time(end))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StoreError(f"No credentials from {where}: its answer holds none.") from None


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _ask_near(method: str, url: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Return status and body; 0 where nobody answers in time."""
    import urllib3

    retries = urllib3.Retry(total=1, redirect=0, raise_on_redirect=False)
    with urllib3.PoolManager(timeout=urllib3.Timeout(NEAR_SECONDS), retries=retries) as pool:
        try:
            answer = pool.request(method, url, headers=dict(headers))
        except (urllib3.exceptions.HTTPError, UnicodeError):
            return 0, b""
    return int(answer.status), bytes(answer.data)


def _ask_sts(pool: Any, form: dict[str, str], signed_by: Mapping[str, Any], message: str) -> Any:
    """Send a form to the STS, signed by `signed_by["source"]` if there is one; `message` frames the reason."""
    import urllib3

    endpoint = _own_sts()
    address = endpoint or _sts_at_aws()
    url = address.geturl()
    body = urlencode({"Version": STS_VERSION, **form})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if source := signed_by.get("source"):
        headers = _signed(address, body, headers, source)
    retries = urllib3.Retry(2, redirect=0, status_forcelist=(500, 502, 503, 504), backoff_factor=0.2)
    retries = retries.new(allowed_methods=None, raise_on_status=False, raise_on_redirect=False)
    asked = pool if endpoint else urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=30))
    try:
        answer = asked.request("POST", url, body=body, headers=headers, retries=retries)
    except urllib3.exceptions.HTTPError as error:
        why = type(getattr(error, "reason", None) or error).__name__
        raise StoreError(message.replace("{}", f"{url} cannot be reached ({why})")) from None
    if answer.status != 200:
        reason = _named(answer.data, "Code") or "no reason given"
        raise StoreError(message.replace("{}", f"{url} answers {answer.status} ({reason[:100]})"))
    return _from_xml(answer.data, message.replace("{}", f"the answer of {url} holds none"))


def _own_sts() -> SplitResult | None:
    """Return the address of a server of one's own that exchanges tokens; None: AWS does."""
    name = next((name for name in STS_ENDPOINTS if os.environ.get(name)), None)
    if name is not None:
        return web_address(os.environ[name], name, SERVER)
    if not os.environ.get("OAML_S3_ENDPOINT"):
        return None
    store = web_address(os.environ["OAML_S3_ENDPOINT"], "OAML_S3_ENDPOINT", SERVER)
    return None if (store.hostname or "").endswith(AWS_HOSTS) else store


def _sts_at_aws() -> SplitResult:
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
    host = f"sts.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}" if region else "sts.amazonaws.com"
    return web_address(f"https://{host}", "The address of AWS_REGION's STS", "https://sts.eu-central-1.amazonaws.com")


def _signed(parts: SplitResult, body: str, headers: Mapping[str, str], source: Any) -> dict[str, str]:
    from hashlib import sha256

    from minio.signer import sign_v4_sts
    from minio.time import to_amz_date, utcnow

    now, parts = utcnow(), parts if parts.path else parts._replace(path="/")
    default = parts.port is None or parts.port == {"http": 80, "https": 443}[parts.scheme]
    to_sign: dict[str, Any] = {**headers, "X-Amz-Date": to_amz_date(now)}
    to_sign["Host"] = parts.hostname if default else parts.netloc
    if source.session_token:
        to_sign["X-Amz-Security-Token"] = source.session_token
    signed: Any = sign_v4_sts(
        method="POST",
        url=parts,
        region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        headers=to_sign,
        credentials=source,
        content_sha256=sha256(body.encode()).hexdigest(),
        date=now,
    )
    return dict(signed)


def _named(body: bytes, name: str) -> str | None:
    """Return the text of the first XML element of this name, whatever its namespace."""
    from xml.etree import ElementTree

    try:
        elements = ElementTree.fromstring(body).iter()
    except (ElementTree.ParseError, ValueError):
        return None
    return next((one.text for one in elements if one.tag.rpartition("}")[2] == name), None)


def _from_xml(body: bytes, message: str) -> Any:
    from minio.credentials.credentials import Credentials

    names = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
    key, secret, token, end = (_named(body, name) for name in names)
    try:
        return Credentials(key or "", secret or "", token, _time(end) if end else None)
    except ValueError:
        raise StoreError(message) from None
