"""A store in an S3 bucket, through the MinIO client. Objects carry their SHA-256 as metadata."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from oaml_core.errors import StoreError
from oaml_core.store.base import (
    MissingObject,
    ObjectInfo,
    Store,
    appearing,
    checked_key,
    checked_prefix,
    damaged,
    digest_key,
    is_listed,
    sha256_of,
    unusable_file,
)
from oaml_core.store.s3_client import connect, with_retries

T = TypeVar("T")
METADATA = "sha256"
PART_BYTES = 16 * 2**20
CHUNK_BYTES = 2**20
FORGETFUL = "OAML_S3_FORGETS_METADATA"
"""Environment variable that says, with `1`, that the server loses metadata when it ends, and may leave half an object
when it is killed. The SHA-256 of each object is then put as an object of its own, before it."""


class S3Store(Store):
    """Objects below `s3://bucket/prefix`. The bucket is created where it is missing and that is allowed.

    Raises:
        StoreError: endpoint or credentials are missing or wrong.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self.bucket, _, self.prefix = self.uri.removeprefix("s3://").partition("/")
        checked_prefix(self.prefix)
        self._client = connect()
        self._digests = os.environ.get(FORGETFUL) == "1"
        self._open_bucket()

    def put_file(self, path: Path, key: str) -> ObjectInfo:
        try:
            info = ObjectInfo(key, path.stat().st_size, sha256_of(path))
            if not self._has(info):
                if self._digests:
                    self._put_digest(info)
                self._send(key, path, info.sha256)
        except OSError as error:
            raise error if isinstance(error, StoreError) else unusable_file(path, error) from None
        return info

    def get_file(self, key: str, path: Path) -> None:
        with appearing(path) as temporary:
            found, expected = self._try(key, self._fetch, self._full(key), temporary)
            if not expected and self._digests:
                expected = self.stat(key).sha256
            if expected not in ("", found):
                raise damaged(self.url(key), found, expected)

    def stat(self, key: str) -> ObjectInfo:
        found = self._try(key, self._client.stat_object, self.bucket, self._full(key))
        metadata = {name.lower(): value for name, value in (found.metadata or {}).items()}
        info = ObjectInfo(key, found.size, metadata.get(f"x-amz-meta-{METADATA}", ""))
        return info if info.sha256 or not self._digests else self._with_digest(info)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        top = f"{self.prefix}/" if self.prefix else ""
        full = top + checked_prefix(prefix)
        found = self._try(prefix, lambda: list(self._client.list_objects(self.bucket, prefix=full, recursive=True)))
        for entry in sorted(found, key=lambda entry: entry.object_name):
            key = entry.object_name.removeprefix(top)
            if is_listed(key):
                yield ObjectInfo(key, entry.size, "")

    def delete(self, key: str) -> None:
        for name in (key, digest_key(key)) if self._digests else (key,):
            self._try(name, self._client.remove_object, self.bucket, self._full(name))

    def _has(self, info: ObjectInfo) -> bool:
        try:
            return self.stat(info.key) == info
        except MissingObject:
            return False

    def _send(self, key: str, path: Path, digest: str) -> None:
        self._try(
            key,
            self._client.fput_object,
            self.bucket,
            self._full(key),
            str(path),
            metadata={METADATA: digest},
            part_size=PART_BYTES,
        )

    def _fetch(self, name: str, path: Path) -> tuple[str, str]:
        """Stream an object into `path`; its SHA-256, and the one that it was put with (empty: not known)."""
        digest = hashlib.sha256()
        response = self._client.get_object(self.bucket, name)
        try:
            with path.open("wb") as file:
                for chunk in response.stream(CHUNK_BYTES):
                    digest.update(chunk)
                    file.write(chunk)
        finally:
            response.close()
            response.release_conn()
        return digest.hexdigest(), response.headers.get(f"x-amz-meta-{METADATA}", "")

    def _put_digest(self, info: ObjectInfo) -> None:
        """Say what the object will be: half of it, which a killed server leaves, is then known for what it is."""
        text = f"{info.sha256} {info.size}\n".encode()
        name = self._full(digest_key(info.key))
        self._try(info.key, lambda: self._client.put_object(self.bucket, name, io.BytesIO(text), len(text)))

    def _with_digest(self, info: ObjectInfo) -> ObjectInfo:
        """`info` with the SHA-256 that was put beside it, if one was.

        Raises:
            MissingObject: the object has not the size that it was to have.
        """
        name = self._full(digest_key(info.key))
        try:
            digest, size = self._try(info.key, self._read, name).split()
        except MissingObject:
            return info
        if int(size) != info.size:
            raise MissingObject(
                f"{self.url(info.key)} is not whole: {info.size} of {size} bytes. Run the stage that makes it again."
            )
        return ObjectInfo(info.key, info.size, digest)

    def _read(self, name: str) -> str:
        response = self._client.get_object(self.bucket, name)
        try:
            return response.read().decode()
        finally:
            response.close()
            response.release_conn()

    def _open_bucket(self) -> None:
        """Create the bucket if there is none.

        Raises:
            StoreError: it cannot be reached, or these credentials open none.
        """
        if self._try("", self._bucket_exists):
            return
        try:
            self._try("", self._client.make_bucket, self.bucket)
        except StoreError as error:
            if not self._try("", self._bucket_exists):  # and nobody else has made it since
                raise StoreError(f"There is no bucket {self.bucket!r}, and it could not be created: {error}") from None

    def _bucket_exists(self) -> bool:
        """Whether the bucket is there; an answer without a body ("forbidden") is asked for again with its reason."""
        from minio.error import S3Error

        try:
            return bool(self._client.bucket_exists(self.bucket))
        except S3Error as error:
            if error.code != "AccessDenied":
                raise
            next(iter(self._client.list_objects(self.bucket, prefix=self.prefix)), None)
            return True

    def _full(self, key: str) -> str:
        return f"{self.prefix}/{checked_key(key)}" if self.prefix else checked_key(key)

    def _try(self, key: str, call: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """`call`, tried again where the fault may pass; errors name the object `key`, or the store."""
        return with_retries(f"{self.uri}/{key}" if key else self.uri, lambda: call(*arguments, **options))
