"""A record file in a store that no local disk has room for is read in ranges, and comes out the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from oaml_core.config import Config
from oaml_core.data.prepare.prepare import prepare_dataset
from oaml_core.data.sources import base as sources
from oaml_core.data.sources import recordio_remote
from oaml_core.data.sources.base import LocalFolder, SourceFolder, StoreFolder
from oaml_core.data.sources.recordio_index import ARRAYS
from oaml_core.data.sources.recordio_source import RecordIOSource
from oaml_core.errors import DataError
from oaml_core.store import open_store
from tests.data_layer.conftest import truncate


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for lists of offsets, not for record files."""
    monkeypatch.setattr(sources, "LARGE", 512)
    monkeypatch.setattr(sources, "shutil", SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=9_000)))


def stored(folder: Path, tmp_path: Path) -> SourceFolder:
    return StoreFolder(open_store(str(folder)), tmp_path / "scratch")


@pytest.mark.parametrize("piece", [1, 5_000, 1 << 26])
@pytest.mark.usefixtures("full_disk")
def test_index_and_images_are_those_of_the_local_file(
    recordio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(recordio_remote, "PIECE", piece)
    lines = (recordio / "train.idx").read_text().splitlines()
    (recordio / "train.idx").write_text("\n".join(lines[::-1]))
    local, remote = RecordIOSource(LocalFolder(recordio)), RecordIOSource(stored(recordio, tmp_path))
    assert not (tmp_path / "scratch" / "train.rec").exists()
    for name in ARRAYS:
        one, other = (np.asarray(getattr(source.index, name)) for source in (remote, local))
        in_any_order = name in ("spans", "broken")
        np.testing.assert_array_equal(*(np.sort(a, axis=0) if in_any_order else a for a in (one, other)))
    assert remote.index.bytes_outside == local.index.bytes_outside
    assert [remote.read(n) for n in range(len(remote))] == [local.read(n) for n in range(len(local))]


@pytest.mark.usefixtures("full_disk")
def test_records_behind_the_end_are_listed(recordio: Path, tmp_path: Path) -> None:
    truncate(recordio / "train.rec", (recordio / "train.rec").stat().st_size - 3_000)
    local, remote = RecordIOSource(LocalFolder(recordio)), RecordIOSource(stored(recordio, tmp_path))
    assert len(remote.damaged) > 0
    assert sorted(remote.damaged) == sorted(local.damaged)


@pytest.mark.usefixtures("full_disk")
def test_what_cannot_be_read_in_pieces_is_named(recordio: Path, tmp_path: Path) -> None:
    (recordio / "train.idx").unlink()
    with pytest.raises(DataError, match=r"train\.rec is larger than the room in work_dir"):
        RecordIOSource(stored(recordio, tmp_path))
    shutil.copy(recordio / "property", recordio / "train.idx")
    with pytest.raises(DataError, match=r"no usable train\.idx"):
        RecordIOSource(stored(recordio, tmp_path))


def test_a_set_larger_than_the_disk_becomes_the_same_data_set(
    recordio: Path, tmp_path: Path, config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = config()
    roomy = replace(there, data=replace(there.data, source=f"file://{recordio}"), store=str(tmp_path / "one"))
    expected = prepare_dataset(roomy, open_store(roomy.store)).manifest
    monkeypatch.setattr(sources, "LARGE", 512)
    monkeypatch.setattr(sources, "shutil", SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=9_000)))
    tight = replace(roomy, work_dir=str(tmp_path / "tight"), store=str(tmp_path / "two"))
    made = prepare_dataset(tight, open_store(tight.store)).manifest
    assert made.files == expected.files
    assert made.fingerprint == expected.fingerprint
