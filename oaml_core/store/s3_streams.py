"""Objects of S3 that are read in one request, with all that tells whether they arrived as they were put."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from oaml_core.store.s3_parts import CHUNK_BYTES

METADATA = "sha256"
"""Name of the metadata that holds an object's SHA-256."""
MD5 = re.compile(r"[0-9a-f]{32}")


class Streamed(NamedTuple):
    """An object that was read."""

    sha256: str
    told: str
    """SHA-256 that it was put with; empty where the server tells none."""
    md5_fits: bool
    """False: the object has an ETag that is an MD5, but of another content."""
    tag: str
    """ETag, as `tag_of` returns it."""


def stream_object(client: Any, bucket: str, name: str, path: Path | None) -> Streamed:
    """Read an object as a stream and compute its digest.

    Args:
        client: `minio.Minio`.
        bucket: name of the bucket.
        name: of the object in it.
        path: file to write; None: none.
    """
    response = client.get_object(bucket, name)
    try:
        told = response.headers.get(f"x-amz-meta-{METADATA}", "")
        digest, md5 = hashlib.sha256(), None if told else _md5_to_compare(response.headers)
        with path.open("wb") if path else nullcontext() as file:
            for chunk in response.stream(CHUNK_BYTES):
                digest.update(chunk)
                if md5 is not None:
                    md5.update(chunk)
                if file:
                    file.write(chunk)
    finally:
        response.close()
        response.release_conn()
    tag = tag_of(response.headers.get("ETag"))
    return Streamed(digest.hexdigest(), told, md5 is None or md5.hexdigest() == tag, tag)


def _md5_to_compare(headers: Mapping[str, str]) -> Any:
    """Return a new MD5 where the ETag of an object can be one: not with keys of a customer or of KMS."""
    encrypted = "x-amz-server-side-encryption-customer-algorithm" in headers
    encrypted |= headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
    is_md5 = MD5.fullmatch(tag_of(headers.get("ETag"))) and not encrypted
    return hashlib.md5(usedforsecurity=False) if is_md5 else None


def tag_of(etag: str | None) -> str:
    """Return an ETag that tells contents apart; those of uploads in parts, which have a hyphen, may change alone."""
    tag = (etag or "").strip('"')
    return "" if "-" in tag else tag
