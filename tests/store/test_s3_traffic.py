"""Bytes that come from S3 are counted as they are read, with or without a length in the answer."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from answering import AnsweringHandler, answering

from oaml_core.errors import StoreError
from oaml_core.store import open_store, s3_client
from oaml_core.store.traffic import metered

CONTENT = bytes(range(256)) * 2000
LISTING = (
    b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>oaml</Name><Prefix/><KeyCount>0</KeyCount>'
    b"<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"
)


class Chunking(AnsweringHandler):
    """Answers in chunks, as servers and proxies do that do not know lengths; what is cut off never ends."""

    protocol_version = "HTTP/1.1"
    cut = False

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        listing = "list-type" in self.path or "location" in self.path
        body = LISTING if listing else CONTENT
        self.send_response(200)
        self.send_header("Content-Type", "application/xml" if listing else "application/octet-stream")
        self.send_header("x-amz-meta-sha256", hashlib.sha256(CONTENT).hexdigest())
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(body), 100_000):
            piece = body[at : at + 100_000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if self.cut and not listing:
                self.close_connection = True
                return
        self.wfile.write(b"0\r\n\r\n")


class Cutting(Chunking):
    cut = True


def test_answers_in_chunks_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with answering(Chunking, monkeypatch):
        store = open_store("s3://oaml")
        for get in (lambda: store.read_bytes("a"), lambda: store.get_file("a", tmp_path / "a")):
            with metered() as traffic:
                get()
                assert traffic().bytes_read == len(CONTENT)
        with metered() as traffic:
            list(store.list())
            assert 0 < traffic().bytes_read <= 2 * len(LISTING)


def test_only_what_has_come_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "TRIES", 1)
    monkeypatch.setattr(s3_client, "FIRST_WAIT", 0.0)
    with answering(Cutting, monkeypatch), metered() as traffic:
        with pytest.raises(StoreError):
            open_store("s3://oaml").read_bytes("a")
        tries = traffic().requests
        assert 0 < traffic().bytes_read <= 100_000 * tries
