"""A store in an S3 bucket, through the MinIO client. Objects carry their SHA-256 as metadata."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
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
from oaml_core.store.s3_client import OPEN_TRIES, connect, with_retries

T = TypeVar("T")
METADATA = "sha256"
PART_BYTES = 16 * 2**20
CHUNK_BYTES = 2**20
FORGETFUL = "OAML_S3_FORGETS_METADATA"
"""Environment variable that says, with `1`, that the server loses metadata when it ends, and may leave half an object
when it is killed. The SHA-256 of each object is then put as an object of its own, before it."""


class S3Store(Store):
    """Objects below `s3://bucket/prefix`. Putting the first object makes a missing bucket, reading does not.

    Raises:
        StoreError: endpoint or credentials are missing or wrong.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self.bucket, _, self.prefix = self.uri.removeprefix("s3://").partition("/")
        checked_prefix(self.prefix)
        self._client = connect()
        self._digests = os.environ.get(FORGETFUL) == "1"
        self._made = with_retries(self.uri, self._bucket_exists, OPEN_TRIES)

    def is_made(self) -> bool:
        self._made = self._made or self._try("", self._bucket_exists)
        return self._made

    def put_file(self, path: Path, key: str) -> ObjectInfo:
        full = self._full(key)
        try:
            info = ObjectInfo(key, path.stat().st_size, sha256_of(path))
            there = self._stat_or_none(key)
            if there != info:
                self._make_bucket()
                if self._digests:
                    self._put_digests(info, there)
                self._send(full, path, info)
        except OSError as error:
            raise error if isinstance(error, StoreError) else unusable_file(path, error) from None
        return info

    def get_file(self, key: str, path: Path) -> None:
        full = self._full(key)
        with appearing(path) as temporary:
            found, digest = self._try(key, self._fetch, full, temporary)
            expected = [digest] if digest or not self._digests else self._known_digests(key, temporary.stat().st_size)
            if any(expected) and found not in expected:
                raise damaged(self.url(key), found, expected[0])

    def stat(self, key: str) -> ObjectInfo:
        found = self._try(key, self._client.stat_object, self.bucket, self._full(key))
        metadata = {name.lower(): value for name, value in (found.metadata or {}).items()}
        digest = metadata.get(f"x-amz-meta-{METADATA}", "")
        if not digest and self._digests:
            known = self._known_digests(key, found.size)
            digest = known[0] if len(known) == 1 else ""
        return ObjectInfo(key, found.size, digest)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        top = f"{self.prefix}/" if self.prefix else ""
        full = top + checked_prefix(prefix)
        if not self.is_made():
            return
        found = self._try(prefix, lambda: list(self._client.list_objects(self.bucket, prefix=full, recursive=True)))
        for entry in sorted(found, key=lambda entry: entry.object_name):
            key = entry.object_name.removeprefix(top)
            if is_listed(key):
                yield ObjectInfo(key, entry.size, "")

    def delete(self, key: str) -> None:
        for name in (key, digest_key(key)) if self._digests else (key,):
            self._try(name, self._client.remove_object, self.bucket, self._full(name))

    def _stat_or_none(self, key: str) -> ObjectInfo | None:
        try:
            return self.stat(key)
        except MissingObject:
            return None

    def _send(self, full: str, path: Path, info: ObjectInfo) -> None:
        self._try(
            info.key,
            self._client.fput_object,
            self.bucket,
            full,
            str(path),
            metadata={METADATA: info.sha256},
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

    def _put_digests(self, info: ObjectInfo, there: ObjectInfo | None) -> None:
        """Say what the object will be, and what it is: whenever this ends, the object is one of the two, and half an
        object, which a killed server leaves, is known for what it is.
        """
        contents = [info] if there is None or not there.sha256 else [info, there]
        text = "".join(f"{each.sha256} {each.size}\n" for each in contents).encode()
        name = self._full(digest_key(info.key))
        self._try(info.key, lambda: self._client.put_object(self.bucket, name, io.BytesIO(text), len(text)))

    def _known_digests(self, key: str, size: int) -> Sequence[str]:
        """The SHA-256 that an object of this size has by what was put beside it; one of two, if it was being replaced.
        Empty if nothing was.

        Raises:
            MissingObject: it was to have another size.
        """
        try:
            lines = self._try(key, self._read, self._full(digest_key(key))).splitlines()
        except MissingObject:
            return []
        digests = {digest: int(whole) for digest, whole in map(str.split, lines)}
        known = [digest for digest, whole in digests.items() if whole == size]
        if not known:
            raise MissingObject(
                f"{self.url(key)} is not whole: {size} of {next(iter(digests.values()))} bytes. Run the stage that "
                "makes it again."
            )
        return known

    def _read(self, name: str) -> str:
        response = self._client.get_object(self.bucket, name)
        try:
            return response.read().decode()
        finally:
            response.close()
            response.release_conn()

    def _make_bucket(self) -> None:
        """Make the bucket if there is none.

        Raises:
            StoreError: it cannot be made.
        """
        if self.is_made():
            return
        try:
            self._try("", self._client.make_bucket, self.bucket)
        except StoreError as error:
            if not self.is_made():  # and nobody else has made it since
                raise StoreError(f"There is no bucket {self.bucket!r}, and it could not be made: {error}") from None

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
