"""RecordIO as Apache MXNet writes it and InsightFace's training sets use it: frames, headers, labels.

A file is a row of frames, each `magic (uint32 0xced7230a) | continuation flag (3 bits) and length (29 bits) |
payload | padding to 4 bytes`, little-endian. A payload that holds the magic number at a multiple of 4 bytes is
split there into several frames (continuation flags 1, 2 …, 3) and the magic number is left out; flag 0 is a
record of one frame. A record starts with a header of 24 bytes: `flag (uint32), label (float32), id (uint64),
id2 (uint64)`; a flag above 0 says that so many float32 labels follow the header and replace its label.

Source of the format: dmlc-core `include/dmlc/recordio.h`, MXNet `python/mxnet/recordio.py`.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import NamedTuple

from oaml_core.amounts import amount
from oaml_core.errors import DataError

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
FRAME = struct.Struct("<II")
HEADER = struct.Struct("<IfQQ")
LENGTH_MASK = (1 << 29) - 1
WHOLE, FIRST, MIDDLE, LAST = range(4)


class Record(NamedTuple):
    """One record, taken apart."""

    labels: tuple[float, ...]
    """The header's label, or the label array that replaces it."""
    id: int
    """Record number, in the files that MXNet writes."""
    id2: int
    image: bytes
    """The encoded image; empty for header and identity records."""


def padded(length: int) -> int:
    """Return a payload's length with its padding to a multiple of 4 bytes."""
    return (length + 3) & ~3


def join_frames(data: bytes | memoryview | mmap.mmap, offset: int = 0) -> tuple[bytes | memoryview, int]:
    """Return the payload of the record whose first frame starts at `offset`, and the offset behind its last frame.

    Raises:
        DataError: no frame starts here, a frame is cut off, or its parts do not follow one another.
    """
    payload, flag, offset = _frame(data, offset)
    if flag == WHOLE:
        return payload, offset
    if flag != FIRST:
        raise DataError("this frame continues a record whose start is elsewhere")
    parts = [payload]
    while flag != LAST:
        payload, flag, offset = _frame(data, offset)
        if flag not in (MIDDLE, LAST):
            raise DataError("a record of several frames ends without its last frame")
        parts.append(payload)
    return MAGIC_BYTES.join(parts), offset


def _frame(data: bytes | memoryview | mmap.mmap, offset: int) -> tuple[memoryview, int, int]:
    view = memoryview(data)
    if len(view) < offset + FRAME.size:
        raise DataError("the record is cut off in its frame header")
    magic, packed = FRAME.unpack_from(view, offset)
    if magic != MAGIC:
        raise DataError(f"no record starts here: magic number {magic:#010x} instead of {MAGIC:#010x}")
    start, length = offset + FRAME.size, packed & LENGTH_MASK
    if len(view) < start + length:
        raise DataError(f"the record is cut off: {amount(length, 'byte')} announced, {len(view) - start} there")
    return view[start : start + length], packed >> 29, start + padded(length)


def parse_payload(payload: bytes | memoryview) -> Record:
    """Header, labels and image of one record.

    Raises:
        DataError: the payload is too short for the header or the labels that it announces.
    """
    if len(payload) < HEADER.size:
        raise DataError(f"the record has {amount(len(payload), 'byte')}, fewer than its header of {HEADER.size}")
    flag, label, id_, id2 = HEADER.unpack_from(payload)
    start = HEADER.size + 4 * flag
    if len(payload) < start:
        raise DataError(f"the record announces {amount(flag, 'label')} but ends before them")
    labels = struct.unpack_from(f"<{flag}f", payload, HEADER.size) if flag else (label,)
    return Record(labels, id_, id2, bytes(payload[start:]))


def parse_record(data: bytes | memoryview, offset: int = 0) -> Record:
    """Return the record whose first frame starts at `offset` of `data`; raises what `join_frames` raises."""
    return parse_payload(join_frames(data, offset)[0])


def frame_record(image: bytes, labels: tuple[float, ...], id_: int = 0, id2: int = 0) -> bytes:
    """Return a whole record as it stands in a file: header, image, frames, padding.

    One label stands in the header (flag 0), several follow it as an array.
    """
    if len(labels) == 1:
        payload = HEADER.pack(0, labels[0], id_, id2) + image
    else:
        payload = HEADER.pack(len(labels), 0.0, id_, id2) + struct.pack(f"<{len(labels)}f", *labels) + image
    if len(payload) > LENGTH_MASK:
        raise DataError(f"a record of {len(payload)} bytes is too long for RecordIO (2^29 - 1)")
    parts = _split_at_magic(payload)
    if len(parts) == 1:
        return _framed(payload, WHOLE)
    flags = [FIRST, *[MIDDLE] * (len(parts) - 2), LAST]
    return b"".join(_framed(part, flag) for part, flag in zip(parts, flags, strict=True))


def _split_at_magic(payload: bytes) -> list[bytes]:
    parts, start, search = [], 0, 0
    while (found := payload.find(MAGIC_BYTES, search)) >= 0:
        if found % 4:
            search = found + 1
            continue
        parts.append(payload[start:found])
        start = search = found + 4
    parts.append(payload[start:])
    return parts


def _framed(payload: bytes, flag: int) -> bytes:
    return FRAME.pack(MAGIC, flag << 29 | len(payload)) + payload + b"\0" * (padded(len(payload)) - len(payload))


def walk_records(data: mmap.mmap) -> Iterator[tuple[int, int]]:
    """Yield (offset, size) of every record in file order, by a pass over the frame headers.

    Where no whole record starts, as in a damaged or truncated file, (offset, 0) is given once and the walk goes on
    at the next magic number that stands at a multiple of 4 bytes.
    """
    offset = 0
    while offset < len(data):
        end = _record_end(data, offset)
        if end is not None:
            yield offset, end - offset
            offset = end
            continue
        yield offset, 0
        offset = _next_magic(data, offset + 4)


def _record_end(data: mmap.mmap, offset: int) -> int | None:
    expected = (WHOLE, FIRST)
    while offset + FRAME.size <= len(data):
        magic, packed = FRAME.unpack_from(data, offset)
        flag = packed >> 29
        if magic != MAGIC or flag not in expected:
            return None
        offset += FRAME.size + padded(packed & LENGTH_MASK)
        if offset > len(data):
            return None
        if flag in (WHOLE, LAST):
            return offset
        expected = (MIDDLE, LAST)
    return None


def _next_magic(data: mmap.mmap, offset: int) -> int:
    found = data.find(MAGIC_BYTES, offset)
    while found % 4 and found >= 0:
        found = data.find(MAGIC_BYTES, found + 1)
    return found if found >= 0 else len(data)
