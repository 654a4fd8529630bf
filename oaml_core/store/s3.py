"""A store in an S3 bucket, through the MinIO client. Objects carry their SHA-256 as metadata."""

from __future__ import annotations

import hashlib
import io
import mimetypes
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from oaml_core.errors import StoreError
from oaml_core.folder_entries import read_regular, shown
from oaml_core.registry import register_store
from oaml_core.store.base import LINK_VALID, DamagedObject, MissingObject, Moved, ObjectInfo, Store, damaged
from oaml_core.store.keys import checked_key, checked_prefix, digest_key, is_listed
from oaml_core.store.local_file import appearing, sha256_of, unusable_file
from oaml_core.store.partial_file import partial_file
from oaml_core.store.s3_client import BODY_SHA256, OPEN_TRIES, connect, with_retries
from oaml_core.store.s3_credentials import is_anonymous
from oaml_core.store.s3_digests import DigestNotes
from oaml_core.store.s3_parts import PART_BYTES, PartTransfers
from oaml_core.store.s3_streams import METADATA, WHOLE, Streamed, digest_in, stream_object, tag_of
from oaml_core.store.s3_told import ASKED, ToldChecks, ToldDamage

T = TypeVar("T")
WHOLE_BYTES = PART_BYTES
"""Largest object that moves in one request."""
LONGEST_LINK = timedelta(days=7)
"""S3's limit."""
FORGETFUL = "OAML_S3_FORGETS_METADATA"
"""Environment variable that says, with `1`, that the server loses metadata when it ends, and may leave half an object
when it is killed. The SHA-256 of each object is then put as an object of its own, before it."""


UNSTEADY = "Look at the network and the proxies on the way, and run the command again."


@register_store("s3")
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
        self._parts = PartTransfers(self._client, self.bucket)
        self._notes = DigestNotes(self._client, self.bucket)
        self._digests = os.environ.get(FORGETFUL) == "1"
        self._told = ToldDamage(self._client, self.bucket, self.prefix, is_trusted=not self._digests)
        self._made = with_retries(self.uri, self._bucket_exists, OPEN_TRIES)

    def is_made(self) -> bool:
        self._made = self._made or self._try("", self._bucket_exists)
        return self._made

    def write_bytes(self, key: str, data: bytes) -> ObjectInfo:
        """Put a small object, given as bytes: from memory, so that a full disk here stops no lease's renewal."""
        if len(data) > WHOLE_BYTES:
            return super().write_bytes(key, data)
        return self._put_content(data, key, lambda _: None, is_new=False)

    def _put(self, path: Path, key: str, moved: Moved, is_new: bool) -> ObjectInfo:
        try:
            content = read_regular(path) if path.stat().st_size <= WHOLE_BYTES else path
            return self._put_content(content, key, moved, is_new)
        except OSError as error:
            raise error if isinstance(error, StoreError) else unusable_file(path, error) from None

    def _put_content(self, content: bytes | Path, key: str, moved: Moved, is_new: bool) -> ObjectInfo:
        if isinstance(content, bytes):
            info = ObjectInfo(key, len(content), hashlib.sha256(content).hexdigest())
        else:
            info = ObjectInfo(key, content.stat().st_size, sha256_of(content))
        there = None if is_new and not self._digests else self._stat_or_none(key)
        if there == info:
            moved(info.size)
        else:
            self._make_bucket()
            if self._digests:
                self._notes.put(self._full(digest_key(key)), info, there, self.url(key))
            self._send(content, info, moved)
        return info

    def _get(self, key: str, path: Path, moved: Moved, size: int | None) -> ObjectInfo:
        full = self._full(key)
        head = self._head(key, ASKED) if size is None or size > WHOLE_BYTES else None
        if head and head.size > WHOLE_BYTES:
            return self._get_parts(key, path, moved, head)
        with appearing(path) as temporary:
            before = ""
            for is_last in (False, True):  # what a bit changed on the way is whole when it is fetched again
                found = self._try(key, self._stream, full, temporary)
                got = temporary.stat().st_size
                moved(got)
                expected = [found.told] if found.told or not self._digests else self._known_digests(key, got)
                if found.sha256 in expected:
                    break
                if any(expected):
                    if is_last:
                        raise damaged(self.url(key), found.sha256, expected[0])
                elif self._told.fits(found.verdict) and (not size or size == got):
                    break
                elif found.sha256 == before:
                    self._try(key, self._told.refuse_damaged, full, self.url(key), found.verdict)
                    break  # its tag is no MD5, or it was replaced since it was listed
                elif is_last:
                    raise DamagedObject(f"{self.url(key)} arrives with another content each time.", UNSTEADY)
                before = found.sha256
                moved(-got)
        return ObjectInfo(key, got, found.sha256, tag=found.tag)

    def _get_parts(self, key: str, path: Path, moved: Moved, head: Any) -> ObjectInfo:
        """Fetch a large object; parts that an earlier try has fetched are taken as they are, if the whole is right."""
        expected, full = self._expected(key, head), self._full(key)
        tag = None if expected else head.etag
        headers = {**(head.metadata or {}), "ETag": head.etag}
        with partial_file(path, f"{expected or head.etag}-{head.size}-{PART_BYTES}") as file:
            for is_last in (False, False, True) if file.done else (False, True):  # parts of before, then all anew
                checks = ToldChecks(headers, wanted=not expected)
                found = self._parts.fetch(full, file, head.size, self.url(key), moved, tag, checks)
                if found in expected or (not expected and self._told.fits(checks.verdict())):
                    break
                if is_last and not expected:
                    self._try(key, self._told.refuse_damaged, full, self.url(key), checks.verdict())
                    break
                file.forget()
                if is_last:
                    raise damaged(self.url(key), found, expected[0])
                moved(-head.size)
        return ObjectInfo(key, head.size, found, tag=_tag(head))

    def read_range(self, key: str, offset: int, size: int) -> bytes:
        return self._try(key, self._read_range, self._full(key), offset, size)

    def is_intact(self, key: str) -> bool | None:
        head = self._head(key)
        expected = self._expected(key, head)
        full, verdict = self._full(key), dict[str, bool]()
        for _ in range(2):
            found = self._try(key, self._stream, full, None)
            if found.sha256 in expected:
                return True
            if not expected and self._told.fits(found.verdict):
                return self._told.says(found.verdict)
            verdict = found.verdict
        is_damaged = bool(expected) or self._try(key, self._told.is_damage, full, verdict)
        return False if is_damaged else None

    def link(self, key: str, valid: timedelta = LINK_VALID) -> str:
        if not timedelta(seconds=1) <= valid <= LONGEST_LINK:
            raise StoreError(f"A link to {self.url(key)} is valid for one second to {LONGEST_LINK.days} days.")
        self.stat(key)
        return str(self._try(key, self._client.presigned_get_object, self.bucket, self._full(key), expires=valid))

    def unfinished(self, prefix: str = "") -> Sequence[ObjectInfo]:
        top = f"{self.prefix}/" if self.prefix else ""
        if not self.is_made():
            return []
        begun = self._try(prefix, self._parts.begun, top + checked_prefix(prefix))
        return [ObjectInfo(each.object_name.removeprefix(top), 0, "", each.initiated_time) for each in begun]

    def forget_unfinished(self, key: str) -> None:
        self._try(key, self._parts.give_up, self._full(key))

    def keeps_versions(self) -> bool | None:
        try:
            return bool(self._try("", self._client.get_bucket_versioning, self.bucket).status not in ("Off", None, ""))
        except StoreError:  # the server has no such question, or does not let this user ask
            return None

    def stat(self, key: str) -> ObjectInfo:
        head = self._head(key)
        known = self._expected(key, head)
        return ObjectInfo(key, head.size, known[0] if len(known) == 1 else "", head.last_modified, _tag(head))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        top = f"{self.prefix}/" if self.prefix else ""
        full = top + checked_prefix(prefix)
        if not self.is_made():
            return
        found = self._try(prefix, lambda: list(self._listed(full, top)))
        yield from sorted(found, key=lambda info: info.key)

    def over_list(self, take: Callable[[Iterable[ObjectInfo]], T]) -> T:
        top = f"{self.prefix}/" if self.prefix else ""
        return self._try("", lambda: take(self._listed(top, top))) if self.is_made() else take(())

    def _listed(self, full: str, top: str) -> Iterator[ObjectInfo]:
        """Yield objects as they come; of what the server says of each, no more is kept than is needed."""
        first = None
        for entry in self._client.list_objects(self.bucket, prefix=full, recursive=True):
            if entry.object_name == first:
                raise StoreError(f"{self.url()}: the server's listing has no end: look at its log and version.")
            first = first or entry.object_name
            if entry.size is None or entry.size < 0:
                raise StoreError(f"{self.url()}: the server's listing tells no size of {shown(entry.object_name)}.")
            key = entry.object_name.removeprefix(top)
            if is_listed(key):
                yield ObjectInfo(key, entry.size, "", entry.last_modified, _tag(entry))

    def delete(self, key: str) -> None:
        for name in (key, digest_key(key)) if self._digests else (key,):
            self._try(name, self._client.remove_object, self.bucket, self._full(name))

    def _stat_or_none(self, key: str) -> ObjectInfo | None:
        try:
            return self.stat(key)
        except MissingObject:
            return None

    def _head(self, key: str, headers: Mapping[str, str] | None = None) -> Any:
        """Ask the server about an object: `size`, `etag`, `last_modified`, `metadata`."""
        return self._try(key, self._client.stat_object, self.bucket, self._full(key), extra_headers=headers)

    def _expected(self, key: str, head: Any) -> Sequence[str]:
        """Return the SHA-256 that the object was put with; one of two, if it was being replaced; empty if nothing
        tells.
        """
        metadata = {name.lower(): value for name, value in (head.metadata or {}).items()}
        digest = digest_in(metadata)
        return [digest] if digest else self._known_digests(key, head.size) if self._digests else []

    def _send(self, content: bytes | Path, info: ObjectInfo, moved: Moved) -> None:
        """Send the content, in parts if it is a file.

        Raises:
            StoreError: the server keeps forgetting what was sent, or cannot be reached.
        """
        full, kind = self._full(info.key), mimetypes.guess_type(info.key)[0] or "application/octet-stream"
        if isinstance(content, bytes):
            metadata = {METADATA: info.sha256, BODY_SHA256: info.sha256}
            self._try(info.key, self._put_whole, full, content, metadata, kind)
            moved(info.size)
            return
        headers = {f"x-amz-meta-{METADATA}": info.sha256, "Content-Type": kind}
        self._parts.put(full, content, headers, self.url(info.key), moved, lambda: self._stat_or_none(info.key) == info)

    def _put_whole(self, full: str, data: bytes, metadata: dict[str, str], kind: str) -> None:
        content = io.BytesIO(data)
        self._client.put_object(self.bucket, full, content, len(data), kind, metadata, part_size=PART_BYTES)

    def _read_range(self, full: str, offset: int, size: int) -> bytes:
        response = self._client.get_object(self.bucket, full, offset=offset, length=size)
        try:
            told = int(response.headers.get("Content-Length", size + 1))
            place = response.headers.get("Content-Range")  # with status 200, too, from `rclone serve s3`
            if place is not None and not place.startswith(f"bytes {offset}-"):
                raise StoreError(
                    f"{self.uri}: asked from byte {offset} on, the server sends {shown(place)} of {shown(full)}."
                )
            if place is None and response.status == WHOLE and (offset or told > size):
                raise StoreError(f"{self.uri}: the server knows no ranges, and sends all of {shown(full)}.")
            result: bytes = response.read()
            return result
        finally:
            response.close()
            response.release_conn()

    def _stream(self, full: str, path: Path | None) -> Streamed:
        return stream_object(self._client, self.bucket, full, path)

    def _known_digests(self, key: str, size: int) -> Sequence[str]:
        return self._notes.known(self._full(digest_key(key)), size, self.url(key))

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
        """Return True if the bucket exists; an answer without a body ("forbidden") is asked for again with its
        reason.
        """
        from minio.error import S3Error

        if is_anonymous():  # public buckets give objects to people who may not ask about the bucket
            return True
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


def _tag(told: Any) -> str:
    """Return the tag of an object by what the server says of it."""
    return tag_of(told.etag, told.last_modified)
