"""Where every image of a `.rec` file stands and whose it is: built once in a streaming pass, then memory-mapped.

The index lies beside the file (`train.rec.index/`), or in a cache folder where the data is read-only, together
with the size and time of the file that it was made from. Opening it costs no memory but the pages that are used,
which all processes share.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oaml_core.array_files import map_array
from oaml_core.data.sources.recordio import FRAME, HEADER, LENGTH_MASK, MAGIC, WHOLE, join_frames, walk_records
from oaml_core.data.sources.rounded import EXACT_FLOAT32
from oaml_core.errors import DataError
from oaml_core.structured_text import json_or_none

log = logging.getLogger(__name__)

Ints = NDArray[np.int64]
CHUNK = 1 << 16
HEAD_BYTES = FRAME.size + HEADER.size + 8
INDEX_VERSION = 2
NO_RECORD = (
    "holds no RecordIO record whose label is a whole number, 0 or more; is it a training set of this format, and whole?"
)
CONTRADICTIONS = 0.1
"""Share of labels that differ from their identity record above which the file is taken to number them otherwise."""
ARRAYS = ("keys", "offsets", "sizes", "labels", "spans", "broken")


@dataclass(frozen=True)
class RecordIndex:
    """The images of one record file, in the order of their keys' lines (`.idx`) or of the file."""

    keys: Ints
    """int64 [N]: record numbers, as `.idx` or the record headers give them."""
    offsets: Ints
    """int64 [N]: bytes from the file's start to the record's first frame."""
    sizes: NDArray[np.int32]
    """int32 [N]: bytes of the record with its frames and padding."""
    labels: NDArray[np.int32]
    """int32 [N]: identity numbers as the file gives them."""
    spans: Ints
    """int64 [M, 3]: (key, first, end) of the header record and of identity records, which hold no image."""
    broken: Ints
    """int64 [B, 2]: (key, offset) of places where no usable record stands."""
    bytes_outside: int
    """Bytes of the file that no line of `.idx` leads to."""

    def __len__(self) -> int:
        return len(self.keys)


def open_index(path: Path, cache: Path | None = None) -> RecordIndex:
    """Return the index of a record file, read from its cache or built.

    Args:
        path: the `.rec` file; its `.idx`, if there, gives the records' keys and offsets.
        cache: folder for the index when the file's own folder cannot be written.

    Raises:
        DataError: the file is missing, empty, or holds no record at all.
    """
    stamp = _stamp(path)
    for folder in _cache_folders(path, cache):
        found = _read(folder, stamp)
        if found is not None:
            return found
    index = build_index(path)
    for folder in _cache_folders(path, cache):
        if _write(folder, index, stamp):
            return _read(folder, stamp) or index
    log.warning("The index of %s could not be kept; it is built anew each time.", path)
    return index


def build_index(path: Path) -> RecordIndex:
    """Read the frame headers of the whole file; raises what `open_index` raises."""
    size = path.stat().st_size if path.is_file() else 0
    if not size:
        raise DataError(f"{path} is missing or empty (0 bytes); copy the file again.")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        listed = read_idx(path.with_suffix(".idx"))
        index = _gather(data, _walk(data)) if listed is None else _listed_or_walked(path, data, listed)
    if not len(index) and not len(index.spans):
        raise DataError(f"{path} {NO_RECORD}")
    return index


def _walk(data: mmap.mmap) -> Ints:
    walked = np.array([offset for offset, _ in walk_records(data)], dtype=np.int64)
    return np.stack([np.full(len(walked), -1), walked], axis=1)


def _listed_or_walked(path: Path, data: mmap.mmap, listed: Ints) -> RecordIndex:
    """Goes by `.idx`, unless reading the file through finds images that it does not lead to."""
    index = _gather(data, listed)
    if not index.bytes_outside:
        return index
    walked = _gather(data, _walk(data))
    if len(walked) <= len(index):
        return index
    log.warning(
        "%s leads to %d images, reading %s through finds %d: it is not gone by.",
        path.with_suffix(".idx"),
        len(index),
        path.name,
        len(walked),
    )
    return walked


def read_idx(path: Path) -> Ints | None:
    """Read an index as int64 [R, 2] (key, offset); None if the file is missing or unusable."""
    if not path.is_file() or not path.stat().st_size:
        log.warning("%s is missing; the records' places are found by reading the record file through.", path)
        return None
    try:
        table = np.loadtxt(path, dtype=np.int64, ndmin=2)
    except ValueError as error:
        log.warning("%s is damaged (%s); the record file is read through instead.", path, error)
        return None
    if table.shape[1] != 2 or (table < 0).any():
        log.warning("%s does not hold lines of `key offset`; the record file is read through instead.", path)
        return None
    return table


def _gather(data: mmap.mmap, listed: Ints) -> RecordIndex:
    pieces = (Piece(data, 0, listed[i : i + CHUNK]) for i in range(0, len(listed), CHUNK))
    return gather(pieces, listed, len(data))


class Piece(NamedTuple):
    """Some records of a file, with the bytes that hold them."""

    data: mmap.mmap | bytes
    """The file, or a part of it that holds these records whole."""
    base: int
    """Bytes of the file before `data`."""
    listed: Ints
    """int64 [R, 2]: key and offset in the file of each of them; key -1 where the record's header says it."""


def gather(pieces: Iterable[Piece], listed: Ints, size: int) -> RecordIndex:
    """Return the index of a file of `size` bytes whose records `listed` names, its pieces in that order."""
    starts = np.append(np.minimum(np.sort(listed[:, 1]), size), size)  # a record ends where one begins
    chunks = [_gather_chunk(piece, starts) for piece in pieces]
    keys, offsets, sizes, labels, spans, broken = (
        np.concatenate([chunk[i] for chunk in chunks]) for i in range(len(ARRAYS))
    )
    if (listed[:, 0] < 0).any() and len(np.unique(keys)) < len(keys):  # header ids that name nothing
        keys = np.arange(1, len(keys) + 1)
    contradicted = _contradicted(keys, labels, spans)
    broken = np.concatenate([broken, np.column_stack([keys, offsets])[contradicted]])
    keys, offsets, sizes, labels = (column[~contradicted] for column in (keys, offsets, sizes, labels))
    covered = int(sizes.sum(dtype=np.int64)) + int(spans[:, 3].sum())
    return RecordIndex(keys, offsets, sizes, labels, spans[:, :3], broken, max(0, size - covered))


def _contradicted(keys: Ints, labels: NDArray[np.int32], spans: Ints) -> NDArray[np.bool_]:
    """bool [N]: images whose label is not that of the identity record that spans them.

    InsightFace numbers identity records as it numbers labels; a file in which it is otherwise is left alone.
    """
    identities = spans[spans[:, 0] > 0]
    identities = identities[np.argsort(identities[:, 0], kind="stable")]
    if not len(identities) or (np.diff(identities[:, 1]) < 0).any():
        return np.zeros(len(keys), dtype=bool)
    ordinal = np.searchsorted(identities[:, 1], keys, side="right") - 1
    inside = (ordinal >= 0) & (keys < identities[ordinal, 2])
    exact = keys < EXACT_FLOAT32 - 1  # bounds near and beyond it are rounded, and prove nothing
    other = inside & exact & (labels != ordinal)
    return other if other.mean() < CONTRADICTIONS else np.zeros(len(keys), dtype=bool)


def _gather_chunk(piece: Piece, starts: Ints) -> tuple[NDArray[np.generic], ...]:
    """Headers of many records at once: the arrays of `RecordIndex`, spans with a fourth column, their size."""
    data, starts = piece.data, starts - piece.base if piece.base else starts
    keys, offsets = piece.listed[:, 0].copy(), piece.listed[:, 1] - piece.base
    raw = np.frombuffer(data, dtype=np.uint8)
    heads = raw[np.minimum(offsets[:, None] + np.arange(HEAD_BYTES), len(raw) - 1)]
    words = heads.view("<u4")
    length = (words[:, 1] & LENGTH_MASK).astype(np.int64)
    continuation, flag = words[:, 1] >> 29, words[:, 2].astype(np.int64)
    sizes = FRAME.size + (length + 3) // 4 * 4
    whole = (words[:, 0] == MAGIC) & (offsets + FRAME.size + HEADER.size <= len(raw)) & (length >= HEADER.size)
    for row in np.flatnonzero(whole & (continuation != WHOLE)):
        try:
            payload, end = join_frames(data, int(offsets[row]))
        except DataError:
            whole[row] = False
            continue
        length[row], sizes[row] = len(payload), end - offsets[row]
    whole &= offsets + sizes <= starts[np.searchsorted(starts, offsets, side="right").clip(max=len(starts) - 1)]
    payload_left = length - HEADER.size - 4 * flag
    whole &= payload_left >= 0
    floats = heads.view("<f4")
    label = np.where(flag > 0, floats[:, 8], floats[:, 3]).astype(np.float64)
    usable_label = np.isfinite(label) & (label >= 0) & (label == np.floor(label)) & (label < 2**31)
    image = whole & (payload_left > 0) & usable_label
    span = whole & (payload_left == 0) & (flag >= 2)
    broken = ~image & ~span
    ids = heads[:, 16:24].copy().view("<i8")[:, 0]
    keys = np.where(keys < 0, ids, keys)
    bounds = np.where(span[:, None], floats[:, 8:10], 0)
    bounds = np.where(np.abs(bounds) < 2**53, bounds, 0).astype(np.int64)
    del raw  # the map cannot be closed while an array looks into it
    offsets = offsets + piece.base
    return (
        keys[image],
        offsets[image],
        sizes[image].astype(np.int32),
        label[image].astype(np.int32),
        np.column_stack([keys, bounds, sizes])[span],
        np.column_stack([keys, offsets])[broken],
    )


def _stamp(path: Path) -> dict[str, int]:
    stamp = {"version": INDEX_VERSION}
    for name, file in (("rec", path), ("idx", path.with_suffix(".idx"))):
        if file.is_file():
            stat = file.stat()
            stamp |= {f"{name}_size": stat.st_size, f"{name}_mtime_ns": stat.st_mtime_ns}
    return stamp


def _cache_folders(path: Path, cache: Path | None) -> list[Path]:
    beside = path.with_name(path.name + ".index")
    if cache is None:
        return [beside]
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    return [beside, cache / f"{path.name}-{name}.index"]


def _read(folder: Path, stamp: dict[str, int]) -> RecordIndex | None:
    try:
        about = json_or_none((folder / "about.json").read_bytes())
        if (
            not isinstance(about, dict)
            or about.get("stamp") != stamp
            or not isinstance(about.get("bytes_outside"), int)
        ):
            return None
        arrays = {name: map_array(folder / f"{name}.npy", name, "", DataError) for name in ARRAYS}
    except (OSError, DataError):
        return None
    return RecordIndex(**arrays, bytes_outside=about["bytes_outside"])


def _write(folder: Path, index: RecordIndex, stamp: dict[str, int]) -> bool:
    """Write the index whole or not at all; False where the folder cannot be written."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not folder.parent.stat().st_mode & 0o222:  # write-protected data stays as it is, for root too
            return False
        unfinished = Path(tempfile.mkdtemp(prefix=folder.name, dir=folder.parent))
    except OSError:
        return False
    try:
        for name in ARRAYS:
            np.save(unfinished / f"{name}.npy", getattr(index, name))
        (unfinished / "about.json").write_text(json.dumps({"stamp": stamp, "bytes_outside": index.bytes_outside}))
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(unfinished, folder)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)
        return False
    return True
