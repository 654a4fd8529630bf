"""SHA-256 of objects as objects of their own, for servers that lose metadata or leave half an object when they end."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from oaml_core.store.base import REMAKE, DamagedObject, MissingObject, ObjectInfo
from oaml_core.store.s3_client import with_retries


class DigestNotes:
    """Notes of a bucket: what each object is, and what it is being replaced by.

    Args:
        client: `minio.Minio`.
        bucket: name of the bucket.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self._client, self._bucket = client, bucket

    def put(self, name: str, info: ObjectInfo, there: ObjectInfo | None, url: str) -> None:
        """Say what the object will be, and what it is.

        Whenever this ends, the object is one of the two, and half an object, which a killed server leaves, is known for
        what it is.

        Args:
            name: of the note.
            info: the object that will be put.
            there: the object that is there; None: there is none.
            url: of the object, for messages.
        """
        contents = [info] if there is None or not there.sha256 else [info, there]
        text = "".join(f"{each.sha256} {each.size}\n" for each in contents).encode()
        with_retries(url, lambda: self._client.put_object(self._bucket, name, io.BytesIO(text), len(text)))

    def known(self, name: str, size: int, url: str) -> Sequence[str]:
        """Return the SHA-256 that an object of this size has by its note.

        Args:
            name: of the note.
            size: of the object in bytes.
            url: of the object, for messages.

        Returns:
            One of two, if it was being replaced; empty if there is no note.

        Raises:
            MissingObject: it was to have another size. DamagedObject: the note is damaged.
        """
        try:
            lines = with_retries(url, lambda: self._read(name)).splitlines()
        except MissingObject:
            return []
        try:
            digests = {digest: int(whole) for digest, whole in map(str.split, lines)}
        except ValueError:
            raise DamagedObject(f"The note of the SHA-256 of {url} is damaged.", REMAKE) from None
        known = [digest for digest, whole in digests.items() if whole == size]
        if not known:
            whole = next(iter(digests.values()), 0)
            raise MissingObject(f"{url} is not whole: {size} of {whole} bytes. Run the stage that makes it again.")
        return known

    def _read(self, name: str) -> str:
        response = self._client.get_object(self._bucket, name)
        try:
            result: str = response.read().decode()
            return result
        finally:
            response.close()
            response.release_conn()
