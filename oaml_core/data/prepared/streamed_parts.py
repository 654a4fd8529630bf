"""Records of a data set whose parts may be missing here: read from the parts that are, and from the store else.

A record of ours begins with the first half of its image's SHA-256, so that one that is read alone is proved, too.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from oaml_core.data.prepared.fetched_files import lacking
from oaml_core.data.sources.recordio import parse_record
from oaml_core.errors import DataError, StoreError
from oaml_core.store import Store, open_store
from oaml_core.store.base import MissingObject

T = TypeVar("T")
log = logging.getLogger(__name__)
READERS = 16
"""Requests that a process has under way at a time."""
GAP_BYTES = 256 * 1024
"""Bytes between two records that are read along rather than asked for by two requests."""
AWAY_SECONDS = 300.0
"""Time that a store may be away before a reader gives up; the workers then start again from their checkpoint."""
AWAY_WAIT = 5.0
"""Seconds between two tries, each of which has tries of its own."""
TRIES = 3
"""Times that a record is read from the store before it is taken for damaged there."""


class RecordPlace(NamedTuple):
    """The place of a record: number of its part, offset in it and size in bytes."""

    part: int
    offset: int
    size: int


class StreamedParts:
    """Reads records as `PartFiles` does, whatever parts are here; each process connects to the store for itself.

    Args:
        folder: `train/` of a prepared data set; parts come into it, and leave it, while it is read.
        store_uri: the store that has them all.
        keys: their keys in it, by number.
    """

    def __init__(self, folder: Path, store_uri: str, keys: Mapping[int, str]) -> None:
        self.folder = folder
        self._store_uri = store_uri
        self._keys = keys
        self._connected: tuple[int, Store] | None = None
        self._held: dict[RecordPlace, bytes] = {}

    def path(self, part: int) -> Path:
        """Return the path of the file of part number `part`, be it here or not."""
        return part_path(self.folder, part)

    def image(self, part: int, offset: int, size: int) -> bytes:
        """Return the encoded image of one record.

        Raises:
            DataError: it is damaged in the store, too. StoreError: the store stays away.
        """
        place = RecordPlace(part, offset, size)
        if place not in self._held:
            return self._read([place])[place]
        return self._held[place]

    def hold(self, places: Iterable[tuple[int, int, int]]) -> None:
        """Read records at once that will be asked for one by one, and forget those of the call before.

        Raises:
            StoreError: the store stays away.
        """
        self._held = {}
        with suppress(DataError):  # `image` finds it again, and its caller knows of which image it is
            self._held = self._read(RecordPlace(*each) for each in places)

    def _read(self, places: Iterable[RecordPlace]) -> dict[RecordPlace, bytes]:
        found, missing = {}, []
        for place in sorted(set(places)):
            image = self._here(place)
            if image is None:
                missing.append(place)
            else:
                found[place] = image
        spans = joined(missing)
        if len(spans) == 1:
            return found | self._from_store(spans[0])
        if spans:
            patiently(self._store)  # before threads ask for it
            with ThreadPoolExecutor(READERS) as pool:
                for images in pool.map(self._from_store, spans):
                    found |= images
        return found

    def _here(self, place: RecordPlace) -> bytes | None:
        """Return the image from a part of this node; a damaged part is removed, and comes again."""
        path = self.path(place.part)
        try:
            # Opened for one record: a part that is kept open takes room on the disk after it is removed.
            file = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}; fetch the data set again.") from None
        try:
            return proved(os.pread(file, place.size, place.offset))
        except (DataError, OSError) as error:
            log.warning("%s at byte %d: %s; the part is fetched again.", path, place.offset, error)
            path.unlink(missing_ok=True)
            return None
        finally:
            os.close(file)

    def _from_store(self, span: list[RecordPlace]) -> dict[RecordPlace, bytes]:
        """Return the images of neighbouring records of one part, by one request where nothing is wrong."""
        first, end = span[0].offset, max(place.offset + place.size for place in span)
        for tries in range(1, TRIES + 1):
            data = self._range(span[0].part, first, end - first)
            try:
                return {place: proved(data[place.offset - first : place.offset - first + place.size]) for place in span}
            except DataError as error:
                if tries == TRIES:
                    where = self._store().url(self._keys[span[0].part])
                    raise DataError(f"{where} at byte {first}: {error}. Run `oaml prepare --repair`.") from None
        raise AssertionError

    def _range(self, part: int, offset: int, size: int) -> bytes:
        try:
            return patiently(lambda: self._store().read_range(self._keys[part], offset, size))
        except MissingObject:
            raise lacking(self._store().url(self._keys[part]), f"train/{self.path(part).name}") from None

    def _store(self) -> Store:
        if self._connected is None or self._connected[0] != os.getpid():  # a forked parent's connections are its own
            self._connected = os.getpid(), open_store(self._store_uri)
        return self._connected[1]

    def __reduce__(self) -> tuple[Any, ...]:
        return StreamedParts, (self.folder, self._store_uri, self._keys)


def part_path(folder: Path, part: int) -> Path:
    """Return the path of the file of part number `part` in `train/` or `visibility/` of a prepared data set."""
    return folder / f"part-{part:05d}.rec"


def proved(data: bytes) -> bytes:
    """Return the image of a record.

    Raises:
        DataError: the record is cut off or damaged, or was not written by `oaml prepare`.
    """
    record = parse_record(data)
    digest = hashlib.sha256(record.image).digest()
    if digest[:16] != struct.pack("<QQ", record.id, record.id2):
        raise DataError("the image is not the one that its record names")
    return record.image


def patiently(call: Callable[[], T]) -> T:
    """Return `call()`, which is tried again for `AWAY_SECONDS` while the store is away.

    Raises:
        MissingObject: at once. StoreError: the store has stayed away.
    """
    deadline = time.monotonic() + AWAY_SECONDS
    while True:
        try:
            return call()
        except MissingObject:
            raise
        except StoreError as error:
            if time.monotonic() > deadline:
                raise
            log.warning("Images wait for the store: %s", error)
            time.sleep(AWAY_WAIT)


def joined(places: Iterable[RecordPlace]) -> list[list[RecordPlace]]:
    """Group sorted places so that those of one part with less than `GAP_BYTES` between them are read together."""
    spans: list[list[RecordPlace]] = []
    for place in places:
        last = spans[-1][-1] if spans else None
        if last is not None and last.part == place.part and place.offset - last.offset - last.size < GAP_BYTES:
            spans[-1].append(place)
        else:
            spans.append([place])
    return spans
