"""Objects of S3 that are read in one request, with all that tells whether they arrived as they were put."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple

from oaml_core.store.s3_parts import CHUNK_BYTES
from oaml_core.store.s3_told import ASKED, ToldChecks

WHOLE = 200
"""Status of an answer with all of an object; any other one beside errors has a part of it, or nothing."""
MOST_UNTOLD = 64 * 2**20
"""Most bytes of an answer that does not tell its length: larger objects are read in parts."""
METADATA = "sha256"
"""Name of the metadata that holds an object's SHA-256."""
SHA256 = re.compile(r"[0-9a-f]{64}")


class Streamed(NamedTuple):
    """An object that was read."""

    sha256: str
    told: str
    """SHA-256 that it was put with; empty where the server tells none."""
    verdict: dict[str, bool]
    """Verdict of each header that tells something of the content: True if it fits; empty where `told` is better."""
    tag: str
    """Tag, as `tag_of` returns it."""


def stream_object(client: Any, bucket: str, name: str, path: Path | None) -> Streamed:
    """Read an object as a stream and compute its digest.

    Args:
        client: `minio.Minio`.
        bucket: name of the bucket.
        name: of the object in it.
        path: file to write; None: none.
    """
    response = client.get_object(bucket, name, request_headers=dict(ASKED))
    try:
        if response.status != WHOLE:
            raise ValueError(f"status {response.status} for a whole object")
        told = digest_in(response.headers)
        digest, checks = hashlib.sha256(), ToldChecks(response.headers, wanted=not told)
        with path.open("wb") if path else nullcontext() as file:
            got, most = 0, math.inf if "Content-Length" in response.headers else MOST_UNTOLD
            for chunk in response.stream(CHUNK_BYTES):
                if (got := got + len(chunk)) > most:
                    raise ValueError(f"more than {MOST_UNTOLD:,} bytes without a length")
                digest.update(chunk)
                checks.update(chunk)
                if file:
                    file.write(chunk)
    finally:
        response.close()
        response.release_conn()
    tag = tag_of(response.headers.get("ETag"), time_of(response.headers.get("Last-Modified")))
    return Streamed(digest.hexdigest(), told, checks.verdict(), tag)


def digest_in(headers: Mapping[str, str]) -> str:
    """Return the SHA-256 that an object was put with, by the metadata in an answer; empty where it has none.

    Other tools may keep something else under that name, or write the digest in capitals.
    """
    told = headers.get(f"x-amz-meta-{METADATA}", "").lower()
    return told if SHA256.fullmatch(told) else ""


def tag_of(etag: str | None, modified: datetime | None) -> str:
    """Return what tells contents of an object apart: its ETag, and the time of an upload in parts beside it.

    ETags of uploads in parts have a hyphen. Some servers give such uploads of different contents the same one, and AWS
    counts the parts in it: the time, to the second, is another one for every upload.

    Args:
        etag: with or without quotes.
        modified: time of the last change; None: not known, and an upload in parts has no tag.
    """
    tag = (etag or "").strip('"')
    if "-" not in tag:
        return tag
    return "" if modified is None else f"{tag} {int(modified.timestamp())}"


def time_of(header: str | None) -> datetime | None:
    """Return the time that a `Last-Modified` header tells; None where it tells none."""
    try:
        return None if header is None else parsedate_to_datetime(header)
    except ValueError:
        return None
