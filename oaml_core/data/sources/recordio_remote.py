"""The index of a record file in a store, made while the file streams past: for sets that no local disk has room for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from oaml_core.data.sources.base import SourceFolder
from oaml_core.data.sources.recordio_index import NO_RECORD, Ints, Piece, RecordIndex, gather, read_idx
from oaml_core.errors import DataError
from oaml_core.progress import progress

PIECE = 64 << 20
"""About so many bytes are in memory at a time."""


def remote_index(folder: SourceFolder, records: str, idx: str) -> RecordIndex:
    """Read a record file once, in ranges, and keep what an index keeps of it.

    Args:
        folder: holds the file.
        records, idx: names of the record file and of its list of keys and offsets.

    Raises:
        DataError: the list is missing or damaged, or the file holds no record. StoreError: the store fails.
    """
    listed = read_idx(folder.local(idx)) if idx in folder else None
    if listed is None:
        raise DataError(
            f"{folder.where(records)} is larger than the room in work_dir and has no usable {idx} to read it piece by "
            "piece: give a larger disk as work_dir, or put the file's list of offsets beside it."
        )
    size = folder.files[records].size
    if not size:
        raise DataError(f"{folder.where(records)} is empty (0 bytes); copy the file again.")
    order = np.argsort(listed[:, 1], kind="stable")
    index = gather(_pieces(folder, records, listed[order], size), listed[order], size)
    if not len(index) and not len(index.spans):
        raise DataError(f"{folder.where(records)} {NO_RECORD}")
    # Images stand in the order of the list, as in the index of a local file.
    place = order[np.searchsorted(listed[order, 1], index.offsets)]
    by_line = np.argsort(place, kind="stable")
    columns = (index.keys[by_line], index.offsets[by_line], index.sizes[by_line], index.labels[by_line])
    return RecordIndex(*columns, index.spans, index.broken, index.bytes_outside)


def _pieces(folder: SourceFolder, records: str, listed: Ints, size: int) -> Iterator[Piece]:
    """Records by offset, in pieces of the file."""
    inside = listed[:, 1].clip(max=size - 1)  # a place behind the end is looked for, and not found, at the end
    cuts = np.flatnonzero(np.diff(inside // PIECE)) + 1
    bounds = [0, *cuts.tolist(), len(listed)]
    spans = list(pairwise(bounds))
    for first, end in progress(spans, len(spans), "index"):
        start = int(inside[first])
        stop = int(inside[end]) if end < len(listed) else size
        yield Piece(folder.read_range(records, start, stop - start), start, listed[first:end])
