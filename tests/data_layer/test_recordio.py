"""The record format, against a file that MXNet wrote and against its own rules."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import mmap
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oaml_core.data.sources.recordio import MAGIC_BYTES, frame_record, join_frames, parse_record, walk_records
from oaml_core.errors import DataError


def read_all(path: Path) -> list[tuple[int, int]]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return list(walk_records(data))


def test_every_image_of_the_reference_file_is_read_to_the_byte(recordio: Path) -> None:
    expected = json.loads((recordio / "expected.json").read_text())
    data = (recordio / "train.rec").read_bytes()
    records = {r.id: r for r in (parse_record(data, offset) for offset, _ in read_all(recordio / "train.rec"))}

    for key, label, length, sha256 in expected["images"]:
        assert records[key].labels == (label,)
        assert len(records[key].image) == length
        assert hashlib.sha256(records[key].image).hexdigest() == sha256
    spans = [list(records[key].labels) for key in range(expected["first_identity_record"], expected["end"])]
    assert spans == expected["identity_spans"]
    assert records[0].labels == (expected["first_identity_record"], expected["end"])


def test_the_walk_covers_the_whole_file(recordio: Path) -> None:
    places = read_all(recordio / "train.rec")
    assert places[0][0] == 0
    assert all(offset + size == following for (offset, size), (following, _) in itertools.pairwise(places))
    assert sum(places[-1]) == (recordio / "train.rec").stat().st_size


# Bytes in which the magic number is frequent, at multiples of four and beside them.
payloads = st.lists(st.one_of(st.just(MAGIC_BYTES), st.binary(max_size=9))).map(b"".join)


@given(payloads, st.lists(st.integers(0, 1 << 20).map(float), min_size=1, max_size=3).map(tuple))
def test_any_image_and_labels_survive_writing_and_reading(image: bytes, labels: tuple[float, ...]) -> None:
    record = frame_record(image, labels, 7, 9)
    read = parse_record(record)
    assert (read.image, read.labels, read.id, read.id2) == (image, labels, 7, 9)
    assert len(record) % 4 == 0
    assert join_frames(record)[1] == len(record)


def test_a_payload_with_the_magic_number_is_split_so_that_no_frame_holds_it_aligned() -> None:
    record = frame_record(b"abcd" + MAGIC_BYTES + b"efgh", (1.0,))
    aligned = [i for i in range(0, len(record), 4) if record[i : i + 4] == MAGIC_BYTES]
    flags = [struct.unpack_from("<I", record, i + 4)[0] >> 29 for i in aligned]
    assert flags == [1, 3]


@given(st.binary(max_size=200))
def test_arbitrary_bytes_give_a_record_or_a_named_error(data: bytes) -> None:
    with contextlib.suppress(DataError):
        parse_record(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cut off"),
        (frame_record(b"image", (0.0,))[:20], "cut off"),
        (b"\0" * 40, "no record starts here"),
        (frame_record(b"", (0.0,))[:4] + struct.pack("<I", 3 << 29 | 24) + b"\0" * 24, "start is elsewhere"),
        (frame_record(b"", (0.0,))[:4] + struct.pack("<I", 8) + b"\0" * 8, "fewer than its header"),
    ],
)
def test_damage_is_named(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_record(data)


def test_the_walk_goes_on_behind_a_damaged_frame(tmp_path: Path) -> None:
    records = [frame_record(bytes([n]) * 50, (float(n),)) for n in range(3)]
    path = tmp_path / "train.rec"
    path.write_bytes(records[0] + b"\xff" * len(records[1]) + records[2])
    sizes = [size for _, size in read_all(path)]
    assert sizes == [len(records[0]), 0, len(records[2])]
