"""Large objects go to and come from S3 in parts, several at a time; a part that has arrived is not moved again.

Uploads go on where an earlier process stopped, as long as the server remembers the parts: each of those is compared
with the file by its MD5, which S3 gives as the part's ETag. Downloads go on from `partial_file`.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from oaml_core.errors import StoreError
from oaml_core.store.partial_file import PartialFile
from oaml_core.store.s3_client import LostUpload, with_retries
from oaml_core.store.s3_told import ToldChecks

PART_BYTES = 16 * 2**20
BEGINNINGS = 5
"""Uploads that are begun before a server that keeps forgetting them is given up."""
MOST_PARTS = 10_000
"""S3's limit."""
AT_A_TIME = 4
"""Parts of one object that move at a time."""
IN_FLIGHT = 8
"""Parts that move at a time in one store; an upload holds them in memory."""
CHUNK_BYTES = 2**20

Moved = Callable[[int], None]
"""Told the bytes that have just arrived."""


class Part(NamedTuple):
    """One part of an object: its number, first byte and length."""

    number: int
    """Number of the part, from 1."""
    start: int
    """Bytes."""
    length: int


def parts_of(size: int) -> list[Part]:
    """Divide an object of `size` bytes into parts, the same at every try."""
    length = PART_BYTES * -(-size // (PART_BYTES * MOST_PARTS))
    starts = range(0, size, length) if size else range(0)
    return [Part(number, start, min(length, size - start)) for number, start in enumerate(starts, 1)]


class PartTransfers:
    """Moves parts between files and one bucket."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._in_flight = threading.BoundedSemaphore(IN_FLIGHT)

    def put(
        self,
        name: str,
        path: Path,
        headers: Mapping[str, str],
        url: str,
        moved: Moved,
        is_there: Callable[[], bool],
    ) -> None:
        """Put the file at `path` as the object `name`, by going on with an upload that was begun where there is one.

        Args:
            is_there: returns True if the object is the file, with these headers.

        Raises:
            StoreError: the server keeps forgetting what was sent, or cannot be reached.
        """
        resume = True
        for _ in range(BEGINNINGS):
            told: list[int] = []

            def tell(count: int, told: list[int] = told) -> None:
                told.append(count)
                moved(count)

            try:
                resumed = self.send(name, path, headers, url, tell, resume=resume)
            except LostUpload:
                resumed = True
            if not resumed or is_there():
                return
            moved(-sum(told))
            resume = False  # what was gone on with was begun for another file
        raise StoreError(
            f"{url}: the server has forgotten what was sent {BEGINNINGS} times, as one does whose disk is full: look "
            "at its log."
        )

    def send(
        self, name: str, path: Path, headers: Mapping[str, str], url: str, moved: Moved, *, resume: bool = True
    ) -> bool:
        """Put the file at `path` as the object `name`, with `headers` unless an earlier upload is gone on with.

        Returns:
            Whether an earlier upload was gone on with; the object then has that one's headers.

        Raises:
            LostUpload: the server has forgotten the upload, as one does that was killed.
        """
        parts = parts_of(path.stat().st_size)
        upload, there = self._unfinished(name, path, parts, url) if resume else (None, {})
        resumed = upload is not None
        if upload is None:
            upload = with_retries(url, lambda: self._client._create_multipart_upload(self._bucket, name, dict(headers)))
        moved(sum(part.length for part in parts if part.number in there))

        def send_part(part: Part) -> str:
            with self._in_flight:
                data = _stretch(path, part)
                tag = with_retries(
                    url,
                    lambda: self._client._upload_part(self._bucket, name, data, None, upload, part.number),
                )
            moved(part.length)
            result: str = tag
            return result

        missing = [part for part in parts if part.number not in there]
        for part, task in _several(send_part, missing):
            there[part.number] = task.result()
        self._complete(name, upload, there, url)
        return resumed

    def fetch(
        self,
        name: str,
        file: PartialFile,
        size: int,
        url: str,
        moved: Moved,
        tag: str | None = None,
        checks: ToldChecks | None = None,
    ) -> str:
        """Fill `file` with the object `name` of `size` bytes; its SHA-256, hexadecimal.

        Args:
            tag: ETag that every part's answer must carry; None where the SHA-256 will tell.
            checks: take in the content, too.

        Raises:
            StoreError: the object was replaced meanwhile.
        """

        def fetch_part(part: Part) -> None:
            if part.number not in file.done:
                with self._in_flight:
                    with_retries(url, lambda: self._stream(name, part, file, url, tag))
                file.mark(part.number)
            moved(part.length)

        digest = hashlib.sha256()
        for part, task in _several(fetch_part, parts_of(size)):
            task.result()
            _add([digest, checks] if checks else [digest], file.path, part)
        return digest.hexdigest()

    def begun(self, prefix: str) -> list[Any]:
        """Uploads of objects whose name begins so: each has `object_name`, `upload_id` and `initiated_time`."""
        from minio.error import S3Error

        found: list[Any] = []
        marker: dict[str, str | None] = {}
        while True:
            try:
                page = self._client._list_multipart_uploads(self._bucket, prefix=prefix, **marker)
            except S3Error as error:
                if error.code == "NoSuchUpload":  # so some servers say that there are none
                    return found
                raise
            found += page.uploads
            if not page.is_truncated or not page.uploads:
                return found
            last = page.uploads[-1]  # the client does not pass on the marker that the server gives
            marker = {"key_marker": last.object_name, "upload_id_marker": last.upload_id}

    def give_up(self, name: str) -> None:
        """End all uploads of the object `name`; what has arrived of them goes."""
        for upload in self.begun(name):
            if upload.object_name == name:
                self._client._abort_multipart_upload(self._bucket, name, upload.upload_id)

    def _stream(self, name: str, part: Part, file: PartialFile, url: str, tag: str | None) -> None:
        response = self._client.get_object(self._bucket, name, offset=part.start, length=part.length)
        try:
            if int(response.headers.get("Content-Length", -1)) != part.length:
                raise StoreError(f"{url} was replaced while it was read, or its server knows no ranges: try again.")
            if tag is not None and response.headers.get("ETag", "").strip('"') != tag:
                raise StoreError(f"{url} was replaced while it was read: try again.")
            with file.open_at(part.start) as out:
                for chunk in response.stream(CHUNK_BYTES):
                    out.write(chunk)
        finally:
            response.close()
            response.release_conn()

    def _unfinished(self, name: str, path: Path, parts: list[Part], url: str) -> tuple[str | None, dict[int, str]]:
        """Return an upload of this file that somebody began, and the ETags of its parts by number."""
        found = with_retries(url, lambda: self.begun(name))
        for upload in sorted(found, key=lambda each: each.initiated_time, reverse=True):
            if upload.object_name == name:
                tags = self._arrived(name, upload.upload_id, url)
                known = {part.number: part for part in parts}
                if tags and all(number in known and _md5(path, known[number]) == tags[number] for number in tags):
                    return upload.upload_id, tags
        return None, {}

    def _arrived(self, name: str, upload: str, url: str) -> dict[int, str]:
        tags: dict[int, str] = {}
        marker: str | None = None
        while True:
            found = with_retries(
                url,
                lambda marker=marker: self._client._list_parts(  # type: ignore[misc]
                    self._bucket, name, upload, part_number_marker=marker
                ),
            )
            tags |= {part.part_number: part.etag.strip('"') for part in found.parts}
            if not found.is_truncated:
                return tags
            marker = str(found.next_part_number_marker)

    def _complete(self, name: str, upload: str, tags: Mapping[int, str], url: str) -> None:
        from minio.datatypes import Part as Sent

        parts = [Sent(number, tags[number]) for number in sorted(tags)]
        with_retries(url, lambda: self._client._complete_multipart_upload(self._bucket, name, upload, parts))


def _several(move: Callable[[Part], Any], parts: list[Part]) -> Any:
    """`move` all parts, AT_A_TIME; each with its task, in order. After the first fault nothing new is begun."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        tasks: list[tuple[Part, Future[Any]]] = [(part, pool.submit(move, part)) for part in parts]
        try:
            for part, task in tasks:
                task.result()
                yield part, task
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _stretch(path: Path, part: Part) -> bytes:
    with path.open("rb") as file:
        file.seek(part.start)
        return file.read(part.length)


def _add(digests: Sequence[Any], path: Path, part: Part) -> None:
    """Update all `digests` with a part, by pieces that the processor's cache holds."""
    with path.open("rb", buffering=0) as file:
        for start in range(part.start, part.start + part.length, CHUNK_BYTES):
            file.seek(start)
            piece = file.read(min(CHUNK_BYTES, part.start + part.length - start))
            for digest in digests:
                digest.update(piece)


def _md5(path: Path, part: Part) -> str:
    return hashlib.md5(_stretch(path, part), usedforsecurity=False).hexdigest()
