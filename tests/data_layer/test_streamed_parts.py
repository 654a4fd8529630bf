"""Images of a data set whose parts are not all here: read from the parts that are, and from the store else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oaml_core.config import Config
from oaml_core.data.batches.datamodule import FaceDataModule
from oaml_core.data.prepared import streamed_parts
from oaml_core.data.prepared.part_filler import Wanted
from oaml_core.data.prepared.prepared import PreparedDataset, fetch_prepared
from oaml_core.data.prepared.streamed_parts import RecordPlace, joined
from oaml_core.errors import DataError, StoreError
from oaml_core.store.folder import FolderStore
from oaml_core.store.local_file import sha256_of
from oaml_core.store.traffic import metered
from tests.data_layer.conftest import flip_bit
from tests.data_layer.streamed_set import fill, here, parts_of, stored


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed_parts, "AWAY_WAIT", 0.05)


@pytest.mark.parametrize(("share", "workers"), [(0.0, 2), (0.4, 0), (1.0, 2)])
def test_batches_are_those_of_a_copied_set(
    share: float, workers: int, config: Callable[..., Config], uri: str, streamed: PreparedDataset, tmp_path: Path
) -> None:
    made = config(num_workers=workers, visibility_batch_size=4, batch_size=12)
    copied = fetch_prepared(uri, tmp_path / "copied")
    parts = parts_of(streamed)
    assert len(parts) >= 8
    some = list(parts)[: round(share * len(parts))]
    fill(streamed, wanted=Wanted(some, [1] * len(some)))
    assert here(streamed) == set(some)
    pairs = zip(*(FaceDataModule(made, each).train_dataloader() for each in (copied, streamed)), strict=True)
    for one, other in pairs:
        assert torch.equal(one.samples, other.samples)
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.visibility, other.visibility)
        assert torch.equal(one.occluded.images, other.occluded.images)


def test_a_batch_asks_once_per_part_and_for_no_part_that_is_here(
    streamed: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = list(range(0, len(streamed.train), 3))
    wanted = set(streamed.train.parts_of(np.array(images)).tolist())
    with metered() as traffic:
        streamed.train.hold(images)
        asked = traffic().requests
        for image in images:
            streamed.train.encoded(image)
        assert traffic().requests == asked
    assert asked == len(wanted)
    fill(streamed)
    with metered() as traffic:
        streamed.train.hold(images)
        assert traffic().requests == 0


@pytest.mark.parametrize("damage", [flip_bit, lambda path, byte: path.write_bytes(path.read_bytes()[:byte])])
def test_a_damaged_part_here_is_read_from_the_store_and_fetched_again(
    damage: Callable[[Path, int], None], streamed: PreparedDataset
) -> None:
    fill(streamed)
    before = [streamed.train.encoded(number) for number in range(len(streamed.train))]
    path = streamed.directory / parts_of(streamed)[2].path
    damage(path, 1_000)
    assert [streamed.train.encoded(number) for number in range(len(streamed.train))] == before
    assert 2 not in here(streamed)
    fill(streamed)
    assert sha256_of(path) == parts_of(streamed)[2].sha256


def test_a_part_that_is_damaged_in_the_store_never_appears_and_is_named(
    made: Config, streamed: PreparedDataset, caplog: pytest.LogCaptureFixture
) -> None:
    object_ = stored(made, streamed, 3)
    flip_bit(object_, 1_000)
    fill(streamed)
    assert here(streamed) == set(parts_of(streamed)) - {3}
    assert "train/part-00003.rec does not come" in caplog.text
    image = int(np.flatnonzero(streamed.train.parts_of(np.arange(len(streamed.train))) == 3)[0])
    streamed.train.hold([0, image])
    with pytest.raises(DataError, match=rf"training image {image} .*{object_.name} at byte \d+: .*prepare --repair"):
        streamed.train.read(image)


def test_a_part_that_the_store_lost_is_named(made: Config, streamed: PreparedDataset) -> None:
    stored(made, streamed, 0).unlink()
    with pytest.raises(DataError, match=r"train/part-00000.rec of the data set, is not in the store"):
        streamed.train.read(0)


def test_images_wait_for_a_store_that_is_away(
    streamed: PreparedDataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read, tries = FolderStore.read_range, []

    def away(self: FolderStore, *arguments: Any) -> bytes:
        tries.append(arguments)
        if len(tries) < 4:
            raise StoreError("The store cannot be reached.")
        return read(self, *arguments)

    monkeypatch.setattr(FolderStore, "read_range", away)
    assert streamed.train.encoded(0)
    assert caplog.text.count("Images wait for the store") == 3
    monkeypatch.setattr(streamed_parts, "AWAY_SECONDS", 0.0)
    tries.clear()
    with pytest.raises(StoreError, match="cannot be reached"):
        streamed.train.encoded(0)


@pytest.mark.parametrize(
    ("how", "limit_share", "is_streamed"),
    [("auto", None, False), ("auto", 1.1, False), ("auto", 0.9, True), ("copy", 0.9, False), ("stream", None, True)],
)
def test_a_set_is_copied_where_it_fits_unless_the_configuration_says_else(
    how: Any, limit_share: float | None, is_streamed: bool, uri: str, streamed: PreparedDataset, tmp_path: Path
) -> None:
    whole = sum(file.size for file in streamed.manifest.files)
    limit = None if limit_share is None else round(limit_share * whole)
    found = fetch_prepared(uri, tmp_path / "other" / "set", how, limit)
    assert found.train.streamed == is_streamed
    assert bool(found.bytes_to_come) == is_streamed


def test_a_streamed_set_can_be_copied_afterwards(uri: str, streamed: PreparedDataset) -> None:
    fill(streamed, wanted=Wanted([0, 1], [1, 1]))
    with metered() as traffic:
        found = fetch_prepared(uri, streamed.directory, "copy")
        left = sum(file.size for number, file in parts_of(found).items() if number > 1)
        assert left < traffic().bytes_read < left + 40_000, "what is here is not fetched again"
    assert found.bytes_to_come == 0


def test_neighbouring_records_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed_parts, "GAP_BYTES", 100)
    places = [RecordPlace(0, 0, 10), RecordPlace(0, 109, 10), RecordPlace(0, 300, 10), RecordPlace(1, 310, 10)]
    assert joined(places) == [places[:2], places[2:3], places[3:]]
