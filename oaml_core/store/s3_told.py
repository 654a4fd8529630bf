"""Facts that the answer of an S3 server tells of an object's content beside the SHA-256 that this library puts there.

A server that was asked for them tells the checksums that an object was put with (`x-amz-checksum-…`). Its ETag is the
MD5 of the content where the object was put in one part and is not encrypted with keys of KMS or of a customer:
https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html. Of uploads in parts most checksums are of the parts'
checksums; those end with a hyphen and the number of parts, and tell nothing here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from oaml_core.store.base import DamagedObject

PUT_AGAIN = "Put it there again from where it came from."
ASKED = {"x-amz-checksum-mode": "ENABLED"}
"""Headers of a request that asks for the checksums."""
MD5 = re.compile(r"[0-9a-f]{32}")
ETAG = "ETag"
OTHERS = 8
"""Other objects that are read, once, to see whether a server's ETags are MD5s."""
LOOKED_THROUGH = 1_000
"""Objects of the listing among which they are looked for: one page of it."""
SMALL = 1 << 20
"""Bytes up to which one is read for that."""


class _Crc32:
    """CRC-32 of zlib, in the form of `hashlib`."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)


def _sha1() -> Any:
    return hashlib.sha1(usedforsecurity=False)


CHECKSUMS = {"sha256": hashlib.sha256, "sha1": _sha1, "crc32": _Crc32}
"""Kinds that are computed here; for `crc32c` and `crc64nvme` the standard library has nothing quick."""


class ToldChecks:
    """Checksums of one object by the headers of an answer, computed while its content is read.

    Args:
        headers: of the answer, with the object's `ETag`; the case of their names does not matter.
        wanted: False where something better tells, and nothing is computed.
    """

    def __init__(self, headers: Mapping[str, str], *, wanted: bool = True) -> None:
        told = {name.lower(): value for name, value in headers.items()} if wanted else {}
        self._computed: dict[str, tuple[Any, bytes]] = {}
        """Computed checksum, and the value that it has to have, by the header."""
        for kind, make in CHECKSUMS.items():
            name = f"x-amz-checksum-{kind}"
            if (value := _decoded(told.get(name, ""))) is not None:
                self._computed[name] = make(), value
        etag = told.get("etag", "").strip('"')
        if MD5.fullmatch(etag) and not _is_encrypted(told):
            self._computed[ETAG] = _md5(), bytes.fromhex(etag)

    def update(self, data: bytes) -> None:
        """Take in the next piece of the content."""
        for computed, _ in self._computed.values():
            computed.update(data)

    def verdict(self) -> dict[str, bool]:
        """Return by each header whether it fits the content; empty where nothing tells."""
        return {name: computed.digest() == value for name, (computed, value) in self._computed.items()}


def _is_encrypted(told: Mapping[str, str]) -> bool:
    """Return True if the object is encrypted in a way that its ETag is no MD5 of the content."""
    by_customer = "x-amz-server-side-encryption-customer-algorithm" in told
    return by_customer or told.get("x-amz-server-side-encryption", "").startswith("aws:kms")


def _decoded(value: str) -> bytes | None:
    """Return the checksum of a whole object; None where there is none, or it is one of parts."""
    try:
        return base64.b64decode(value, validate=True) or None
    except (binascii.Error, ValueError):
        return None


class ToldDamage:
    """Judges objects whose content twice did not fit what their server tells.

    A checksum says for certain that an object is damaged. An ETag in the form of an MD5 does so on servers whose ETags
    are MD5s, which one other object shows; on a server that has ETags of its own nothing is known.

    Args:
        client: `minio.Minio`.
        bucket: name of the bucket.
        prefix: below which other objects are looked for.
        is_trusted: False: what the server tells says nothing, as of one that loses it.
    """

    def __init__(self, client: Any, bucket: str, prefix: str, *, is_trusted: bool) -> None:
        self._client, self._bucket, self._prefix, self._is_trusted = client, bucket, prefix, is_trusted
        self._has_md5: bool | None = None

    def says(self, verdict: Mapping[str, bool]) -> bool | None:
        """Return True if all that the server tells fits, False if something does not, None if it tells nothing.

        Args:
            verdict: on an object, as of `ToldChecks`.
        """
        return all(verdict.values()) if verdict and self._is_trusted else None

    def fits(self, verdict: Mapping[str, bool]) -> bool:
        """Return True if nothing speaks against an object; an ETag that fits shows what the server's ETags are."""
        if verdict.get(ETAG):
            self._has_md5 = True
        return self.says(verdict) is not False

    def refuse_damaged(self, name: str, url: str, verdict: Mapping[str, bool]) -> None:
        """Raise DamagedObject if the object `name`, at `url`, is certainly damaged by the verdict on its content."""
        wrong = [header for header, fit in verdict.items() if not fit]
        if wrong and self.is_damage(name, verdict):
            raise DamagedObject(f"{url} is damaged: its content does not fit its {wrong[0]}.", PUT_AGAIN)

    def is_damage(self, name: str, verdict: Mapping[str, bool]) -> bool:
        """Return True if an object is certainly damaged.

        Args:
            name: of the object.
            verdict: on its content; something in it does not fit.
        """
        if not self._is_trusted:
            return False
        if not all(fit for header, fit in verdict.items() if header != ETAG):
            return True
        if self._has_md5 is None:
            self._has_md5 = any(self._fits(other) for other in self._others(name))
        return self._has_md5

    def _others(self, name: str) -> Iterator[str]:
        """Yield names of a few small objects whose ETags may be MD5s."""
        listed = self._client.list_objects(self._bucket, prefix=self._prefix, recursive=True)
        small = (
            entry.object_name
            for entry in islice(listed, LOOKED_THROUGH)
            if entry.object_name != name and entry.size <= SMALL and MD5.fullmatch((entry.etag or "").strip('"'))
        )
        yield from islice(small, OTHERS)

    def _fits(self, name: str) -> bool:
        response = self._client.get_object(self._bucket, name)
        try:
            checks = ToldChecks(response.headers)
            checks.update(response.read())
        finally:
            response.close()
            response.release_conn()
        return checks.verdict().get(ETAG, False)
