"""RecordIO parts of bounded size, cut so that a change of the source changes few of them.

Where a part ends depends on the images near its end, not on how many came before: an image inserted at the front
changes the first part and leaves the others as they were, and content-addressed storage then sends one part only.
For the same reason the records carry no labels (their header says -1): labels stand in the index beside the parts.
A record's `id` and `id2` are the first 16 bytes of its image's SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from oaml_core.data.prepared.streamed_parts import RecordPlace
from oaml_core.data.sources.recordio import frame_record

MIB = 1 << 20
MIN_BYTES, TARGET_BYTES, MAX_BYTES = 32 * MIB, 96 * MIB, 256 * MIB
NO_LABEL = (-1.0,)


def draw_of(sha256: bytes) -> float:
    """Return the number in [0, 1) by which an image ends a part or does not, made of its digest (32 bytes)."""
    return int.from_bytes(sha256[16:24], "little") / 2**64


def draws_of(digests: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return `draw_of` each row of uint8 [N, 32]."""
    last = np.ascontiguousarray(digests[:, 16:24]).view("<u8")[:, 0]
    result: NDArray[np.float64] = last.astype(np.float64) / 2**64
    return result


class PartWriter:
    """Writes records to `part-00000.rec`, `part-00001.rec` … and hands each finished part over.

    A context manager; leaving it finishes the last part.

    Args:
        folder: where a part is while it is written.
        finished: called with a finished part's path and SHA-256; may remove the file.
        min_bytes, target_bytes, max_bytes: smallest, about average and largest size of a part.
    """

    def __init__(
        self,
        folder: Path,
        finished: Callable[[Path, str], None],
        min_bytes: int = MIN_BYTES,
        target_bytes: int = TARGET_BYTES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.parts = 0
        self._finished = finished
        self._min, self._spread, self._max = min_bytes, target_bytes - min_bytes, max_bytes
        self._file: BinaryIO | None = None
        self._size = 0

    def add(self, image: bytes, sha256: bytes) -> RecordPlace:
        """Append an image, `sha256` its digest (32 bytes)."""
        record = frame_record(
            image, NO_LABEL, int.from_bytes(sha256[:8], "little"), int.from_bytes(sha256[8:16], "little")
        )
        if self._size and self._size + len(record) > self._max:
            self._finish()
        if self._file is None:
            self._file = (self.folder / f"part-{self.parts:05d}.rec").open("wb")
            self._digest, self._size = hashlib.sha256(), 0
        place = RecordPlace(self.parts, self._size, len(record))
        self._file.write(record)
        self._digest.update(record)
        self._size += len(record)
        if self._size >= self._min and draw_of(sha256) * self._spread < len(record):
            self._finish()
        return place

    def ends(self, sizes: NDArray[np.int64], draws: NDArray[np.float64]) -> list[int]:
        """Return where parts end when records are added, as numbers of records before each end; nothing is written.

        Args:
            sizes: bytes of the framed records, int64 [N].
            draws: `draw_of` the images' digests, float64 [N].
        """
        total = np.concatenate([[0], np.cumsum(sizes)])
        may_end = np.flatnonzero(draws * self._spread < sizes) + 1
        ends: list[int] = []
        start = 0
        while start < len(sizes):
            enough = int(np.searchsorted(total, total[start] + self._min, side="left"))
            nth = int(np.searchsorted(may_end, max(enough, start + 1), side="left"))
            drawn = int(may_end[nth]) if nth < len(may_end) else len(sizes)
            full = int(np.searchsorted(total, total[start] + self._max, side="right")) - 1
            start = min(drawn, max(full, start + 1), len(sizes))
            ends.append(start)
        return ends

    def _finish(self) -> None:
        if self._file is None:
            return
        path = Path(self._file.name)
        self._file.close()
        self._file, self._size = None, 0
        self.parts += 1
        self._finished(path, self._digest.hexdigest())

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        elif self._file is not None:
            self._file.close()
