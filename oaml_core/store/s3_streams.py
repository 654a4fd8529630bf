"""Objects of S3 that are read in one request, with all that tells whether they arrived as they were put."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import datetime
from email.utils import parsedate_to_datetime
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
    """Tag, as `tag_of` returns it."""


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
    tag = tag_of(response.headers.get("ETag"), time_of(response.headers.get("Last-Modified")))
    return Streamed(digest.hexdigest(), told, md5 is None or md5.hexdigest() == tag, tag)


def _md5_to_compare(headers: Mapping[str, str]) -> Any:
    """Return a new MD5 where the ETag of an object can be one: not with keys of a customer or of KMS."""
    encrypted = "x-amz-server-side-encryption-customer-algorithm" in headers
    encrypted |= headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
    is_md5 = MD5.fullmatch(tag_of(headers.get("ETag"), None)) and not encrypted
    return hashlib.md5(usedforsecurity=False) if is_md5 else None


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
