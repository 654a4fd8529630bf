"""The index of a record file: exact, cached, and honest about damage."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.recordio import frame_record
from oaml_core.data.sources.recordio_index import open_index
from oaml_core.data.sources.recordio_source import RecordIOSource
from oaml_core.errors import DataError
from tests.data_layer.conftest import flip_bit, truncate

FIRST_IMAGE_BYTES = 4908
"""Size of the reference file's first record."""


def source_of(folder: Path) -> RecordIOSource:
    return RecordIOSource(LocalFolder(folder))


def test_keys_and_labels_are_those_that_were_written(recordio: Path) -> None:
    expected = json.loads((recordio / "expected.json").read_text())
    index = open_index(recordio / "train.rec")
    assert index.keys.tolist() == [image[0] for image in expected["images"]]
    assert index.labels.tolist() == [image[1] for image in expected["images"]]
    assert index.spans[index.spans[:, 0] > 0, 1:].tolist() == expected["identity_spans"]
    assert len(index.broken) == 0
    assert index.bytes_outside == 0


def test_without_idx_the_same_index_is_found(recordio: Path, caplog: pytest.LogCaptureFixture) -> None:
    with_idx = open_index(recordio / "train.rec")
    (recordio / "train.idx").unlink()
    with caplog.at_level(logging.WARNING):
        without = open_index(recordio / "train.rec")
    assert "train.idx is missing" in caplog.text
    for name in ("keys", "offsets", "sizes", "labels"):
        np.testing.assert_array_equal(getattr(with_idx, name), getattr(without, name))


@pytest.mark.parametrize("damage", ["1\tx\n", "1\n2\n", "", "1\t0\n2\t4908\n"])
def test_a_damaged_or_incomplete_idx_hides_no_image(recordio: Path, damage: str) -> None:
    (recordio / "train.idx").write_text(damage)
    assert len(source_of(recordio)) == 60


def test_the_cached_index_is_used_until_the_file_changes(recordio: Path) -> None:
    path = recordio / "train.rec"
    open_index(path)
    cached = next(recordio.glob("*.index"))
    stamp = cached.stat().st_mtime_ns
    open_index(path)
    assert cached.stat().st_mtime_ns == stamp
    path.write_bytes(path.read_bytes() + frame_record(b"one more", (11.0,), 99))
    (recordio / "train.idx").unlink()
    assert open_index(path).keys[-1] == 99


def test_the_cached_index_is_memory_mapped(recordio: Path) -> None:
    open_index(recordio / "train.rec")
    assert isinstance(open_index(recordio / "train.rec").labels, np.memmap)


def test_a_write_protected_folder_is_left_alone(recordio: Path, tmp_path: Path) -> None:
    recordio.chmod(0o555)
    index = open_index(recordio / "train.rec", tmp_path / "cache")
    recordio.chmod(0o755)
    assert len(index) == 60
    assert not list(recordio.glob("*.index"))
    assert list((tmp_path / "cache").iterdir())


def test_an_empty_file_is_refused_by_name(recordio: Path) -> None:
    truncate(recordio / "train.rec", 0)
    with pytest.raises(DataError, match=r"train\.rec is missing or empty"):
        source_of(recordio)


def test_a_file_of_something_else_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "train.rec").write_bytes(b"something else " * 100)
    with pytest.raises(DataError, match="holds no RecordIO record"):
        open_index(tmp_path / "train.rec")


def test_records_behind_the_end_of_a_truncated_file_are_listed(recordio: Path) -> None:
    truncate(recordio / "train.rec", FIRST_IMAGE_BYTES + 1000)
    source = source_of(recordio)
    assert len(source) == 1
    assert len(source.damaged) == 72
    assert ("record 2", "no whole record with a usable label stands here") in source.damaged


def test_a_truncated_file_without_idx_says_that_it_may_be_cut_off(recordio: Path) -> None:
    (recordio / "train.idx").unlink()
    truncate(recordio / "train.rec", FIRST_IMAGE_BYTES + 1000)
    source = source_of(recordio)
    assert len(source.damaged) == 1
    assert any("cut off" in note for note in source.notes)


@pytest.mark.parametrize("byte", [0, 4, 7, 8, 15])
def test_a_bit_flip_in_a_header_costs_that_record_only_and_is_listed(recordio: Path, byte: int) -> None:
    """Magic number, length, continuation flag, label count, exponent of the label."""
    flip_bit(recordio / "train.rec", byte, bit=6)
    source = source_of(recordio)
    assert len(source) == 59
    assert [name for name, _ in source.damaged] == ["record 1"]


def test_label_arrays_are_understood(tmp_path: Path) -> None:
    records = [frame_record(b"jpeg", (3.0, 0.5), 1), frame_record(b"jpeg", (4.0,), 2)]
    (tmp_path / "train.rec").write_bytes(b"".join(records))
    source = source_of(tmp_path)
    assert source.labels.tolist() == [3, 4]
    assert source.read(0) == b"jpeg"


def test_a_record_of_several_frames_is_indexed_and_read(tmp_path: Path) -> None:
    image = b"\x0a\x23\xd7\xce" * 3 + b"end"
    first = frame_record(b"first", (0.0,), 1)
    (tmp_path / "train.rec").write_bytes(first + frame_record(image, (1.0,), 2) + frame_record(b"last", (1.0,), 3))
    source = source_of(tmp_path)
    assert [source.read(i) for i in range(3)] == [b"first", image, b"last"]


@pytest.mark.parametrize("label", [-1.0, 0.5, float("nan"), float("inf")])
def test_a_label_that_names_no_identity_is_listed(tmp_path: Path, label: float) -> None:
    (tmp_path / "train.rec").write_bytes(frame_record(b"good", (0.0,), 1) + frame_record(b"bad", (label,), 2))
    source = source_of(tmp_path)
    assert len(source) == 1
    assert source.damaged[0][0] == "record 2"


def test_names_and_landmarks_are_picked_up(recordio: Path) -> None:
    points = [[float(i), float(i + 1)] for i in range(5)]
    (recordio / "train_meta.json").write_text(json.dumps({"identities": ["Ada"], "landmarks_by_record": {"2": points}}))
    source = source_of(recordio)
    assert source.identity_name(0) == "Ada"
    assert source.identity_name(1) == "1"
    assert source.landmarks is not None
    assert source.landmarks[1].tolist() == points
    assert np.isnan(source.landmarks[0]).all()


def test_a_wrong_property_is_noted(recordio: Path) -> None:
    (recordio / "property").write_text("99,112,112")
    assert any("announces 99 identities" in note for note in source_of(recordio).notes)
