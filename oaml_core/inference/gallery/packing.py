"""The record of one face as bytes: float32 embedding, 8-bit visibility, 8-bit local features with a scale per place.

Of a model that compares one local vector per face, that vector is kept in place of the features, as those of one place.
"""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

import numpy as np

from oaml_core.errors import DataError
from oaml_core.inference.gallery.sealing import is_sealed
from oaml_core.inference.records import UNKNOWN, FaceRecords, Floats

HEADER = struct.Struct("<4sHHHf")
"""Mark, channels, height, width, and norm (NaN: not known)."""
MARK, ONE_VECTOR = b"OFR1", b"OFR2"
"""Marks of records with local features, and of those with one local vector: a map of visibility and one place."""
DIGEST = 16
"""Bytes of the BLAKE2b digest at the end of a packed record."""


class Packed(NamedTuple):
    """One face in two parts: a search of the whole gallery reads the first one alone."""

    embedding: bytes
    """float32 [E], little endian."""
    detail: bytes
    """Header, visibility, scales, local features, and a digest of both parts."""


def pack_record(records: FaceRecords, row: int = 0) -> Packed:
    """Pack the record of one face into bytes.

    Local features, or the local vector, keep 8 bits per value: at each place the largest magnitude becomes 127, and the
    scale is stored. The largest error of a value is 1/254 of the largest magnitude at its place.

    Args:
        records: of at least `row` + 1 faces.
        row: which face.
    """
    embedding = np.ascontiguousarray(records.embedding[row], dtype="<f4")
    visibility = np.rint(np.clip(records.visibility[row, 0], 0, 1) * 255).astype(np.uint8)
    mark, local = MARK, records.local_features[row]
    if records.local_embedding.size:
        mark, local = ONE_VECTOR, records.local_embedding[row][:, None, None]
    # A model without local features has a map of visibility all the same.
    channels = local.shape[0]
    height, width = visibility.shape
    if channels and mark == MARK and local.shape[1:] != visibility.shape:
        raise DataError(f"Local features {local.shape} and visibility {visibility.shape} do not have the same places.")
    norm = float(records.norm[row]) if len(records.norm) else float("nan")
    parts = [HEADER.pack(mark, channels, height, width, norm), visibility.tobytes()]
    if channels:
        scale = (np.abs(local).max(0) / 127).astype("<f4")
        values = np.rint(local / np.maximum(scale, 1e-30)).astype(np.int8)
        parts += [scale.tobytes(), values.tobytes()]
    body = b"".join(parts)
    return Packed(embedding.tobytes(), body + _digest(embedding.tobytes(), body))


REMEDY = "`oaml gallery verify` lists the damaged ones."


def check_record(packed: Packed) -> str:
    """Return what is wrong with a packed record, or an empty string."""
    if is_sealed(packed.detail):
        return "cannot be decrypted: it was changed"
    body, digest = packed.detail[:-DIGEST], packed.detail[-DIGEST:]
    if not packed.embedding or len(packed.embedding) % 4 or _size(packed.detail) != len(packed.detail):
        return "is no record of a face"
    if _digest(packed.embedding, body) != digest:
        return "differs from its checksum"
    length = float(np.linalg.norm(np.frombuffer(packed.embedding, "<f4")))
    return "" if abs(length - 1) < 1e-3 else f"has an embedding of length {length:.4f}, not 1"


def local_vector(detail: bytes) -> bytes:
    """Return the local vector of a record that has one, float32 little endian, without looking at its checksum.

    Raises:
        DataError: the record has another length than its header says.
    """
    if _size(detail) != len(detail):
        raise DataError("A record of the gallery is no record of a face.", here=REMEDY)
    _, size, height, width, _ = HEADER.unpack_from(detail)
    return _features(detail, HEADER.size + height * width, size, (1, 1)).astype("<f4").tobytes()


def unpack_records(packed: list[Packed]) -> FaceRecords:
    """Return the records of n packed faces of one model, n at least 1.

    Raises:
        DataError: a record is damaged.
    """
    for position, one in enumerate(packed):
        if reason := check_record(one):
            raise DataError(f"Record {position} of the gallery {reason}.", here=REMEDY)
    rows = [_unpack(one) for one in packed]
    embedding, visibility, local, norm, vector = (np.stack(part) for part in zip(*rows, strict=True))
    known = UNKNOWN if np.isnan(norm).any() else norm
    return FaceRecords(embedding, visibility, local, known, vector if vector.size else UNKNOWN)


def _unpack(packed: Packed) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    detail, at = packed.detail, HEADER.size
    mark, channels, height, width, norm = HEADER.unpack_from(detail)
    visibility = np.frombuffer(detail, np.uint8, height * width, at).reshape(1, height, width) / np.float32(255)
    at += height * width
    local, vector = np.zeros((0, height, width), dtype=np.float32), np.zeros(0, dtype=np.float32)
    if mark == ONE_VECTOR:
        vector = _features(detail, at, channels, (1, 1)).ravel()
    elif channels:
        local = _features(detail, at, channels, (height, width))
    known = np.asarray(norm, dtype=np.float32)
    embedding = np.frombuffer(packed.embedding, "<f4").astype(np.float32)
    return embedding, np.asarray(visibility, dtype=np.float32), local, known, vector


def _features(detail: bytes, at: int, channels: int, places: tuple[int, int]) -> Floats:
    """Return the numbers [channels, rows, columns] that stand from `at` on, after a scale per place."""
    count = places[0] * places[1]
    scale = np.frombuffer(detail, "<f4", count, at).reshape(1, *places)
    values = np.frombuffer(detail, np.int8, channels * count, at + 4 * count)
    return np.asarray(values.reshape(channels, *places) * scale, dtype=np.float32)


def _size(detail: bytes) -> int | None:
    """Return the bytes that a detail has by its header; None if it is none."""
    if len(detail) < HEADER.size or detail[:4] not in (MARK, ONE_VECTOR):
        return None
    mark, channels, height, width, _ = HEADER.unpack_from(detail)
    places = 1 if mark == ONE_VECTOR else height * width
    return int(HEADER.size + height * width + (places * (4 + channels) if channels else 0) + DIGEST)


def _digest(embedding: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(embedding + body, digest_size=DIGEST).digest()
