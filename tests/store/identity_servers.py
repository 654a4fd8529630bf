"""Servers on loopback that give keys, as strict about what they are asked as those of the clouds."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

RESULT = """<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result><Credentials>
<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>
<Expiration>{end}</Expiration></Credentials></{action}Result></{action}Response>"""
REFUSAL = (
    '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Code>{}</Code></Error></ErrorResponse>'
)


@dataclass
class Giver:
    """Gives keys; `port` is where."""

    key: str
    secret: str
    seconds: float = 3600.0
    """How long the keys are valid."""
    status: int = 200
    port: int = 0
    known: dict[str, str] = field(default_factory=dict)
    """Secrets of the keys that may assume a role."""
    session: str = ""
    """Token that those keys need."""
    agent_token: str = ""
    role: str = "oaml-node"
    tokens: bool = True
    """True: metadata needs a session token (IMDSv2); False: there are none (IMDSv1)."""
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def end(self) -> str:
        return (datetime.now(UTC) + timedelta(seconds=self.seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def sts(self, headers: dict[str, str], body: bytes, path: str) -> tuple[int, bytes]:
        form = dict(parse_qsl(body.decode(), strict_parsing=True))
        action = form.get("Action", "")
        self.asked.append(action)
        if self.status != 200:
            return self.status, REFUSAL.format("AccessDenied").encode()
        right = (
            path == "/"
            and headers["content-type"].startswith("application/x-www-form-urlencoded")
            and form.get("Version") == "2011-06-15"
            and len(form.get("RoleArn", "")) >= 20
            and re.fullmatch(r"[\w+=,.@-]{2,64}", form.get("RoleSessionName", ""))
        )
        if not right:
            return 400, REFUSAL.format("ValidationError").encode()
        if action == "AssumeRole" and not self.is_signed(headers, body):
            return 403, REFUSAL.format("SignatureDoesNotMatch").encode()
        if action == "AssumeRoleWithWebIdentity" and len(form.get("WebIdentityToken", "")) < 4:
            return 400, REFUSAL.format("InvalidIdentityToken").encode()
        return 200, RESULT.format(
            action=action, key=self.key, secret=self.secret, token="session", end=self.end()
        ).encode()

    def is_signed(self, headers: dict[str, str], body: bytes) -> bool:
        """Compute AWS's signature, version 4, anew."""
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/sts/aws4_request, ?SignedHeaders=([^,]+), "
            r"?Signature=([0-9a-f]{64})",
            headers.get("authorization", ""),
        )
        if not found or found[1] not in self.known or headers.get("x-amz-security-token", "") != self.session:
            return False
        key, day, region, names, signature = found.groups()
        if self.session and "x-amz-security-token" not in names.split(";"):
            return False
        lines = "".join(f"{name}:{headers[name].strip()}\n" for name in names.split(";"))
        request = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
        scope = f"{day}/{region}/sts/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{headers['x-amz-date']}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        chain = f"AWS4{self.known[key]}".encode()
        for part in (day, region, "sts", "aws4_request", text):
            chain = hmac.digest(chain, part.encode(), "sha256")
        return hmac.compare_digest(chain.hex(), signature)

    def metadata(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        """IMDSv2 as EC2 with required tokens gives it, or IMDSv1."""
        self.asked.append(f"{method} {path}")
        if path == "/latest/api/token" and not self.tokens:
            return 405, b""
        if path == "/latest/api/token":
            ttl = headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
            right = method == "PUT" and ttl.isdigit() and 1 <= int(ttl) <= 21600 and "x-forwarded-for" not in headers
            return (200, b"the-token") if right else (400, b"")
        if headers.get("x-aws-ec2-metadata-token") != ("the-token" if self.tokens else None):
            return 401, b""
        roles = "/latest/meta-data/iam/security-credentials/"
        if path == roles:
            return (200, self.role.encode()) if self.role else (404, b"")
        return (200, self.document()) if path == roles + self.role else (404, b"")

    def agent(self, headers: dict[str, str]) -> tuple[int, bytes]:
        self.asked.append("agent")
        right = headers.get("authorization", "") == self.agent_token
        return (200, self.document()) if right else (401, b"")

    def document(self) -> bytes:
        keys = {"AccessKeyId": self.key, "SecretAccessKey": self.secret, "Token": "session"}
        return json.dumps({"Code": "Success", **keys, "Expiration": self.end()}).encode()


@contextmanager
def serving(there: Giver) -> Iterator[Giver]:
    """STS at `/`, metadata below `/latest`, an agent at `/v1/credentials`."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            if self.path.startswith("/latest/"):
                status, content = there.metadata(self.command, self.path, headers)
            elif self.path == "/v1/credentials":
                status, content = there.agent(headers)
            else:
                status, content = there.sts(headers, body, self.path) if self.command == "POST" else (405, b"")
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = answer

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        there.port = server.server_port
        try:
            yield there
        finally:
            server.shutdown()
