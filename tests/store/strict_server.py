"""A stand-in S3 server that takes nothing on trust, and has the faults that it is told to have."""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest
from minio.credentials import Credentials
from minio.signer import sign_v4_s3

ACCESS, SECRET = "strict-access", "strict-secret"
PAGE = 3
"""Objects in one page of a listing."""
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class StrictServer:
    """Objects of one bucket, in memory.

    Attributes:
        objects: content and metadata by key.
        faults: what goes wrong with the requests to come, one after another: `None` nothing; `(status, code)` an error;
            a status for part of an object; `"reset"`, `"cut"` (the body ends early), `"short xml"`, `"flip"` (a bit),
            `"empty xml"`, `"chunked"` (no length is told).
        refused: what was wrong with requests, in the server's words.
        requests: method and key of each request that was answered; `("LIST", prefix)` of a page of a listing.
        etags: `"md5"` of the content, `"kms"` as with keys of KMS, `"parts"` as of uploads in parts, `"one"` for all,
            `"one of parts"` for all as of uploads in parts.
        rotten: contents by key that are sent in place of what was put, as of a bad disk; the tag stays.
        checksums: headers by key that a request gets which asks for checksums, as `x-amz-checksum-crc32`.
        listing_has: text of listings, and what stands there in its place.
        knows_ranges: whether a range that is asked for is sent, and not all of the object.
        range_told: range that is told in place of the one that is sent.
        never_ends: whether a listing says again and again that there is more.
        port: on loopback.
    """

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.faults: list[Any] = []
        self.refused: list[str] = []
        self.requests: list[tuple[str, str]] = []
        self.etags, self.never_ends, self.port = "md5", False, 0
        self.wrong_sizes: dict[str, int] = {}
        self.rotten: dict[str, bytes] = {}
        self.knows_ranges = True
        self.range_told = ""
        self.listing_has: tuple[str, str] = ("\0", "")
        self.checksums: dict[str, dict[str, str]] = {}
        self.modified: dict[str, datetime] = {}
        self._now = datetime(2026, 1, 1, tzinfo=UTC)

    def etag(self, key: str) -> str:
        content = self.objects[key][0]
        md5 = hashlib.md5((b"key" if self.etags == "kms" else b"") + content).hexdigest()
        return {"parts": f"{md5}-2", "one": "f" * 32, "one of parts": "f" * 32 + "-2"}.get(self.etags, md5)

    def put(self, key: str, content: bytes, meta: dict[str, str]) -> None:
        """Put an object, a second and a bit after the one before."""
        self._now += timedelta(seconds=1, milliseconds=7)
        self.objects[key], self.modified[key] = (content, meta), self._now

    def put_by_others(self, key: str, content: bytes) -> None:
        """Put an object as other tools do: without its SHA-256."""
        self.put(key, content, {})


def listed_time(when: datetime) -> str:
    """Return a time as listings have it: to the millisecond, where headers have it to the second."""
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@contextmanager
def strict_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictServer]:
    """Serve until the block ends, with the environment that clients need."""
    for name in ("OAML_S3_FORGETS_METADATA", "OAML_S3_ANONYMOUS", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    state = StrictServer()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(state)) as server:
        state.port = server.server_port
        monkeypatch.setenv("OAML_S3_ENDPOINT", f"http://127.0.0.1:{state.port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield state
        server.shutdown()
        thread.join()


def _handler(state: StrictServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve()

        do_HEAD = do_PUT = do_DELETE = do_POST = do_GET

        def _serve(self) -> None:
            length = self.headers.get("Content-Length")
            body = self.rfile.read(int(length or 0))
            if (wrong := self._wrong(body, length)) is not None:
                state.refused.append(wrong)
                self._error(403, "SignatureDoesNotMatch", wrong)
                return
            fault = state.faults.pop(0) if state.faults else None
            if isinstance(fault, tuple):
                self._error(*fault)
            elif fault == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
            else:
                self._answer_request(body, fault)

        def _wrong(self, body: bytes, length: str | None) -> str | None:
            """Return what is wrong with a request: hash of the body, length, date or signature."""
            if self.command == "PUT" and length is None:
                return "no length"
            told = self.headers.get("x-amz-content-sha256", "")
            if told != hashlib.sha256(body).hexdigest():
                return "the hash of the body is wrong"
            given = self.headers.get("Authorization", "")
            date = datetime.strptime(self.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            signed = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
            headers = {name: self.headers[name] for name in signed}
            url = urlsplit(f"http://{self.headers['Host']}{self.path}")
            keys = Credentials(ACCESS, SECRET)
            made = sign_v4_s3(
                method=self.command,
                url=url,
                region="us-east-1",
                headers=headers,
                credentials=keys,
                content_sha256=told,
                date=date,
            )
            return None if made["Authorization"] == given else "the signature is wrong"

        def _answer_request(self, body: bytes, fault: Any) -> None:
            url = urlsplit(self.path)
            key = unquote(url.path).removeprefix("/strict").lstrip("/")
            query = parse_qs(url.query, keep_blank_values=True)
            state.requests.append(("LIST", query["prefix"][0]) if "list-type" in query else (self.command, key))
            if not key and self.command == "GET":
                self._send(200, self._listing(query, fault), fault, xml=True)
            elif not key:
                self._send(200, b"", None)
            elif self.command == "PUT":
                meta = {name: value for name, value in self.headers.items() if name.lower().startswith("x-amz-meta-")}
                state.put(key, body, meta)
                self._send(200, b"", None, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'})
            elif self.command == "DELETE":
                state.objects.pop(key, None)
                self._send(204, b"", None)
            elif key not in state.objects:
                self._error(404, "NoSuchKey")
            else:
                content, meta = state.objects[key]
                stamp = {
                    "ETag": f'"{state.etag(key)}"',
                    "Last-Modified": format_datetime(state.modified[key], usegmt=True),
                }
                if state.etags == "kms":
                    stamp["x-amz-server-side-encryption"] = "aws:kms"
                if self.headers.get("x-amz-checksum-mode") == "ENABLED" and "Range" not in self.headers:
                    stamp |= state.checksums.get(key, {})
                self._send_object(state.rotten.get(key, content), fault, meta | stamp)

        def _send_object(self, content: bytes, fault: Any, headers: dict[str, str]) -> None:
            """Send an object, or the range of it that was asked for."""
            asked = self.headers.get("Range", "").removeprefix("bytes=")
            if not asked or not state.knows_ranges:
                status = fault if isinstance(fault, int) else 200
                self._send(status, content[:3] if status != 200 else content, fault, headers)
                return
            first, _, last = asked.partition("-")
            whole, end = len(content), min(int(last or len(content) - 1), len(content) - 1)
            shown = {"Content-Range": state.range_told or f"bytes {first}-{end}/{whole}"}
            self._send(206, content[int(first) : end + 1], fault, headers | shown)

        def _listing(self, query: dict[str, list[str]], fault: Any) -> bytes:
            prefix, after = query.get("prefix", [""])[0], query.get("continuation-token", [""])[0]
            keys = sorted(key for key in state.objects if key.startswith(prefix))
            page = [key for key in keys if key > after][:PAGE] if not state.never_ends else keys[:PAGE]
            more = state.never_ends or bool(page and page[-1] != keys[-1])
            entries = "".join(
                f"<Contents><Key>{escape(key)}</Key><LastModified>{listed_time(state.modified[key])}</LastModified>"
                f"<Size>{state.wrong_sizes.get(key, len(state.objects[key][0]))}</Size>"
                f"<ETag>&quot;{state.etag(key)}&quot;</ETag></Contents>"
                for key in page
            )
            token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more and page else ""
            name = "" if fault == "empty xml" else "<Name>strict</Name>"
            head = f'<ListBucketResult xmlns="{NAMESPACE}">{name}<IsTruncated>{str(more).lower()}</IsTruncated>'
            return f"{head}{token}{entries}</ListBucketResult>".replace(*state.listing_has).encode()

        def _send(
            self, status: int, body: bytes, fault: Any, headers: dict[str, str] | None = None, *, xml: bool = False
        ) -> None:
            shown = body
            if fault == "flip" and body:
                shown = bytes([body[0] ^ 1]) + body[1:]
            if fault == "short xml":
                shown = body[: len(body) // 2]
            self.send_response(status)
            self.send_header("Content-Type", "application/xml" if xml else "application/octet-stream")
            if fault == "chunked":
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Content-Length", str(len(shown)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if fault == "cut":
                self.wfile.write(shown[: len(shown) // 2])
                self.close_connection = True
                return
            self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(shown), shown) if fault == "chunked" else shown)

        def _error(self, status: int, code: str, message: str = "no") -> None:
            body = f"<Error><Code>{code}</Code><Message>{message}</Message><RequestId>1</RequestId></Error>".encode()
            self._send(status, body, None, xml=True)

        def log_message(self, *_: object) -> None:
            return

    return Handler
