"""A store in an S3 bucket, through the MinIO client. Objects carry their SHA-256 as metadata."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlparse

from oaml_core.errors import StoreError
from oaml_core.store.base import ObjectInfo, Store, checked_key, sha256_of, temporary_beside

T = TypeVar("T")
TRIES = 5
FIRST_WAIT = 0.3
"""Seconds before the second try; each further wait is twice as long, and jittered."""
METADATA = "sha256"
PART_BYTES = 16 * 2**20
REMEDIES = {
    "InvalidAccessKeyId": "AWS_ACCESS_KEY_ID is not known there",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY is wrong",
    "AccessDenied": "the credentials do not allow this; check AWS_ACCESS_KEY_ID and the bucket's policy",
    "NoSuchBucket": "the bucket does not exist: create it, or correct the store's address",
    "RequestTimeTooSkewed": "the clock of this machine is off by minutes: set it",
}


class S3Store(Store):
    """Objects below `s3://bucket/prefix`. The bucket is created where it is missing and that is allowed.

    Raises:
        StoreError: endpoint or credentials are missing or wrong.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self.bucket, _, self.prefix = self.uri.removeprefix("s3://").partition("/")
        self._client = _client()
        if not self._try("the bucket", self._client.bucket_exists, self.bucket):
            self._try("the bucket", self._client.make_bucket, self.bucket)

    def put_file(self, path: Path, key: str) -> ObjectInfo:
        digest = sha256_of(path)
        info = ObjectInfo(key, path.stat().st_size, digest)
        if self.exists(key) and self.stat(key) == info:
            return info
        self._try(
            key,
            self._client.fput_object,
            self.bucket,
            self._full(key),
            str(path),
            metadata={METADATA: digest},
            part_size=PART_BYTES,
        )
        return info

    def get_file(self, key: str, path: Path) -> None:
        temporary = temporary_beside(path)
        try:
            expected = self.stat(key).sha256
            self._try(key, self._fetch, self._full(key), temporary)
            found = sha256_of(temporary)
            if expected not in ("", found):
                raise StoreError(f"{self.url(key)} is damaged: its SHA-256 is {found}, not {expected}. Put it again.")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def stat(self, key: str) -> ObjectInfo:
        found = self._try(key, self._client.stat_object, self.bucket, self._full(key))
        metadata = {name.lower(): value for name, value in (found.metadata or {}).items()}
        return ObjectInfo(key, found.size, metadata.get(f"x-amz-meta-{METADATA}", ""))

    def exists(self, key: str) -> bool:
        try:
            self.stat(key)
        except FileNotFoundError:
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        full = f"{self.prefix}/{prefix}" if self.prefix else prefix
        found = self._try(
            prefix or "the bucket",
            lambda: list(self._client.list_objects(self.bucket, prefix=full, recursive=True)),
        )
        start = len(self.prefix) + 1 if self.prefix else 0
        for entry in found:
            yield ObjectInfo(entry.object_name[start:], entry.size, "")

    def delete(self, key: str) -> None:
        self._try(key, self._client.remove_object, self.bucket, self._full(key))

    def _full(self, key: str) -> str:
        return f"{self.prefix}/{checked_key(key)}" if self.prefix else checked_key(key)

    def _fetch(self, name: str, path: Path) -> None:
        """Stream into `path`, which exists; the client's own method would rename over it."""
        response = self._client.get_object(self.bucket, name)
        try:
            with path.open("wb") as file:
                for chunk in response.stream(2**20):
                    file.write(chunk)
        finally:
            response.close()
            response.release_conn()

    def _try(self, what: str, call: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """`call`, tried again with growing waits where the fault may pass.

        Raises:
            MissingObject: there is no such object. StoreError: anything else.
        """
        from minio.error import S3Error
        from urllib3.exceptions import HTTPError

        for tries in range(TRIES):
            try:
                return call(*arguments, **options)
            except S3Error as error:
                code = error.code or ""
                if code in ("NoSuchKey", "NoSuchObject"):
                    raise MissingObject(f"There is no {self.url(what)}.") from None
                if code in REMEDIES or tries == TRIES - 1:
                    raise StoreError(f"{self.uri}, {what}: {code}. {REMEDIES.get(code, error.message)}.") from None
            except HTTPError as error:
                if tries == TRIES - 1:
                    raise StoreError(
                        f"The store {self.uri} cannot be reached ({type(error).__name__}): check OAML_S3_ENDPOINT and "
                        "that the server runs."
                    ) from None
            except OSError as error:
                raise StoreError(f"{what} could not be written or read here: {error}.") from error
            time.sleep(FIRST_WAIT * 2**tries * random.SystemRandom().uniform(0.5, 1.5))
        raise AssertionError("the last try returns or raises")


class MissingObject(StoreError, FileNotFoundError):
    """There is no object of that key."""


def _client() -> Any:
    from minio import Minio

    endpoint = os.environ.get("OAML_S3_ENDPOINT")
    key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    missing = [
        name
        for name, value in (
            ("OAML_S3_ENDPOINT", endpoint),
            ("AWS_ACCESS_KEY_ID", key),
            ("AWS_SECRET_ACCESS_KEY", secret),
        )
        if not value
    ]
    if missing:
        raise StoreError(f"An s3:// store needs {', '.join(missing)} in the environment.")
    parsed = urlparse(endpoint or "")
    if parsed.scheme not in ("http", "https") or not parsed.netloc:
        raise StoreError("OAML_S3_ENDPOINT must read http://host:port or https://host:port.")
    return Minio(
        parsed.netloc,
        access_key=key,
        secret_key=secret,
        secure=parsed.scheme == "https",
        region=os.environ.get("AWS_REGION", "us-east-1"),
        http_client=_pool(),
    )


def _pool() -> Any:
    """Connections that call XML errors by the type that the client expects; some servers say text/xml."""
    import urllib3

    class Pool(urllib3.PoolManager):
        def urlopen(self, *arguments: Any, **options: Any) -> Any:
            response = super().urlopen(*arguments, **options)
            if response.headers.get("Content-Type", "").startswith("text/xml"):
                response.headers["Content-Type"] = "application/xml"
            return response

    return Pool(
        timeout=urllib3.Timeout(connect=5, read=60),
        maxsize=16,
        cert_reqs="CERT_REQUIRED",
        ca_certs=os.environ.get("OAML_S3_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE"),
        retries=urllib3.Retry(total=0, redirect=3),
    )
