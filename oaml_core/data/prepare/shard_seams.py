"""Parts of a whole data set from parts of its shards: taken as they are, or copied together where shards meet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oaml_core.data.prepare.outbox import Outbox
from oaml_core.data.prepare.packer import TRAIN
from oaml_core.data.prepare.parts import PartWriter
from oaml_core.data.prepared.manifest import ManifestFile
from oaml_core.data.sources.base import Ints
from oaml_core.data.sources.recordio import parse_record
from oaml_core.errors import StoreError

if TYPE_CHECKING:
    from oaml_core.store import Store


class Lying(NamedTuple):
    """Images to keep, and where shards have written them."""

    numbers: Ints
    """int64 [N]: numbers in the source."""
    sides: NDArray[np.int32]
    """int32 [N]: pixels of each side as encoded."""
    draws: NDArray[np.float64]
    """float64 [N]: by which parts end."""
    shard: NDArray[np.int32]
    """int32 [N]: number of the shard."""
    places: Ints
    """int64 [N, 3]: part within the shard, offset, size."""


class Seams:
    """Parts of the whole, from parts of the shards."""

    def __init__(self, store: Store, outbox: Outbox, parts: list[list[ManifestFile]], lying: Lying) -> None:
        self.store, self.outbox, self.parts, self.lying = store, outbox, parts, lying
        self.folder = outbox.folder / TRAIN

    def places(self) -> Ints:
        """Send all parts; return int64 [N, 3]: part, offset, size of each image in them."""
        sizes = self.lying.places[:, 2]
        result = np.empty((len(sizes), 3), dtype=np.int64)
        result[:, 2] = sizes
        first = 0
        for number, end in enumerate(PartWriter(self.folder, self.outbox.send).ends(sizes, self.lying.draws)):
            result[first:end, 0] = number
            result[first:end, 1] = np.cumsum(sizes[first:end]) - sizes[first:end]
            name = f"part-{number:05d}.rec"
            whole = self._whole(first, end)
            if whole is not None:
                self.outbox.note(replace(whole, path=f"{TRAIN}/{name}"))
            else:
                self._copied(self.folder / name, first, end)
            first = end
        return result

    def _whole(self, first: int, end: int) -> ManifestFile | None:
        """Return the part of a shard that holds exactly these images; None if there is none."""
        shard, (part, offset, _) = int(self.lying.shard[first]), self.lying.places[first].tolist()
        same = self.lying.shard[end - 1] == shard and self.lying.places[end - 1, 0] == part
        file = self.parts[shard][part]
        is_all = offset == 0 and file.size == int(self.lying.places[first:end, 2].sum())
        return file if same and is_all else None

    def _copied(self, path: Path, first: int, end: int) -> None:
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for begin, stop in self._runs(first, end):
                part, offset, _ = self.lying.places[begin].tolist()
                size = int(self.lying.places[begin:stop, 2].sum())
                key = self.parts[int(self.lying.shard[begin])][part].key
                data = self.store.read_range(key, offset, size)
                _check_records(data, self.lying.places[begin:stop, 2], self.store.url(key))
                file.write(data)
                digest.update(data)
        self.outbox.send(path, digest.hexdigest())

    def _runs(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield stretches of images that lie side by side in one part of a shard."""
        shard, (part, offset, size) = self.lying.shard[first:end], self.lying.places[first:end].T
        breaks = (np.diff(shard) != 0) | (np.diff(part) != 0) | (offset[1:] != offset[:-1] + size[:-1])
        bounds = [first, *(np.flatnonzero(breaks) + first + 1).tolist(), end]
        yield from pairwise(bounds)


def _check_records(data: bytes, sizes: Ints, where: str) -> None:
    """Refuse records that are not what was packed: each names the first bytes of its image's digest."""
    offset = 0
    for size in sizes.tolist():
        record = parse_record(data[offset : offset + size])
        if int.from_bytes(hashlib.sha256(record.image).digest()[:8], "little") != record.id:
            raise StoreError(f"{where} is damaged at byte {offset} of a range. Delete it, and run the command again.")
        offset += size
