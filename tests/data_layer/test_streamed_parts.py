"""Images of a data set whose parts are not all here: read from the store, and brought within a limit."""

from __future__ import annotations

import json
import queue
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oaml_core.config import Config, DataConfig
from oaml_core.data.batches.datamodule import FaceDataModule
from oaml_core.data.prepare import packer
from oaml_core.data.prepare.parts import PartWriter
from oaml_core.data.prepare.prepare import prepare_dataset
from oaml_core.data.prepared import fetched_files, part_filler, streamed_parts
from oaml_core.data.prepared.part_filler import PartFiller, Wanted, choose
from oaml_core.data.prepared.prepared import PreparedDataset, fetch_prepared, open_prepared
from oaml_core.data.prepared.streamed_parts import RecordPlace, joined
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.embedded_s3 import embedded_s3
from oaml_core.errors import DataError, StoreError
from oaml_core.store import open_store
from oaml_core.store.cache import bytes_below
from oaml_core.store.folder import FolderStore
from oaml_core.store.local_file import sha256_of
from oaml_core.store.traffic import metered
from tests.data_layer.conftest import face, flip_bit

PEOPLE, IMAGES = 12, 6


@pytest.fixture(scope="module")
def prepared_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A store with a data set of many small parts, and the data set's fingerprint."""
    folder = tmp_path_factory.mktemp("parts")
    for number in range(PEOPLE * IMAGES):
        path = folder / "faces" / f"person{number // IMAGES:02d}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_jpeg(face(number)))
    data = DataConfig(source=str(folder / "faces"), held_out_share=0.0, batch_size=4, num_instances=2)
    config = Config(work_dir=str(folder / "work"), store=str(folder / "store"), data=data)
    with pytest.MonkeyPatch.context() as patch:
        small = partial(PartWriter, min_bytes=10_000, target_bytes=14_000, max_bytes=18_000)
        patch.setattr(packer, "PartWriter", small)
        made = prepare_dataset(config, open_store(config.store))
    return folder / "store", made.fingerprint


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed_parts, "AWAY_WAIT", 0.05)


@pytest.fixture
def made(config: Callable[..., Config], prepared_once: tuple[Path, str]) -> Config:
    """A configuration whose store is a copy of the prepared one."""
    found = config(num_workers=0)
    shutil.copytree(prepared_once[0], found.store)
    return found


@pytest.fixture
def uri(made: Config, prepared_once: tuple[Path, str]) -> str:
    return open_store(made.store).url(f"datasets/{prepared_once[1]}")


@pytest.fixture
def streamed(uri: str, tmp_path: Path) -> PreparedDataset:
    return fetch_prepared(uri, tmp_path / "node" / "set", "stream")


def parts_of(dataset: PreparedDataset) -> dict[int, Any]:
    return {fetched_files.part_number(f): f for f in dataset.manifest.files if fetched_files.is_part(f)}


def here(dataset: PreparedDataset) -> set[int]:
    return {number for number, file in parts_of(dataset).items() if (dataset.directory / file.path).exists()}


def stored(made: Config, dataset: PreparedDataset, part: int) -> Path:
    return Path(made.store) / parts_of(dataset)[part].key


def everything(dataset: PreparedDataset, part: int = 1) -> Wanted:
    numbers = list(parts_of(dataset))
    return Wanted(numbers, [part] * len(numbers))


def fill(dataset: PreparedDataset, limit: int | None = None, wanted: Wanted | None = None) -> None:
    PartFiller(dataset.directory, limit, queue.Queue()).fill(wanted or everything(dataset))


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


def test_parts_keep_the_limit_and_each_comes_once(streamed: PreparedDataset) -> None:
    sizes = {number: file.size for number, file in parts_of(streamed).items()}
    limit = bytes_below(streamed.directory.parent) + sum(sizes.values()) // 2
    with metered() as traffic:
        for _ in range(3):
            fill(streamed, limit)
        came = sum(sizes[part] for part in here(streamed))
        assert traffic().bytes_read == came
    assert sum(sizes.values()) // 2 - max(sizes.values()) < came
    assert bytes_below(streamed.directory.parent) <= limit


def test_what_another_plan_wants_takes_the_place_of_what_nobody_wants(streamed: PreparedDataset) -> None:
    parts = list(parts_of(streamed))
    sizes = sum(file.size for file in parts_of(streamed).values())
    limit = bytes_below(streamed.directory.parent) + sizes // 2 + 20_000
    half = len(parts) // 2
    fill(streamed, limit, Wanted(parts[:half], [5] * half))
    before = here(streamed)
    others = parts[half:][:-1]
    fill(streamed, limit, Wanted(others, [5] * len(others)))
    assert len(here(streamed) & set(others)) >= len(others) - 1
    assert before - here(streamed)
    assert bytes_below(streamed.directory.parent) <= limit


def test_parts_change_only_for_those_wanted_much_more() -> None:
    sizes = dict.fromkeys(range(4), 10)
    wanted = Wanted([3, 2, 1, 0], [7, 5, 4, 4])
    assert choose(wanted, sizes, {0, 1}, room=0) == ([], []), "7 images are not worth a part of 4"
    assert choose(wanted, sizes, {0, 1}, room=10) == ([3], [])
    assert choose(Wanted([3, 2, 1], [9, 1, 2]), sizes, {0, 1}, room=0) == ([3], [0])
    assert choose(Wanted([3], [1]), sizes, set(), room=-5) == ([], [])
    assert choose(Wanted([], []), sizes, {2}, room=100) == ([], []), "what is here stays while there is room"


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


def test_a_disk_without_room_leaves_the_training_its_images(
    streamed: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetched_files, "MOST_KEPT_FREE", 10**18)
    monkeypatch.setattr(fetched_files, "KEPT_FREE", 1.0)
    fill(streamed)
    assert not here(streamed)
    assert streamed.train.read(0).shape == (3, 112, 112)


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


def filler(folder: Path, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "oaml_core.data.prepared.part_filler", str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, text=True, **options)


def tell(process: subprocess.Popen[str], wanted: Wanted) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(wanted._asdict()) + "\n")
    process.stdin.flush()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def test_of_two_fillers_one_brings_and_the_other_takes_over_when_it_is_killed(
    streamed: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = list(parts_of(streamed))
    sizes = {number: file.size for number, file in parts_of(streamed).items()}
    with metered() as traffic:
        first = filler(streamed.directory)
        tell(first, Wanted(parts[:2], [1, 1]))
        until(lambda: here(streamed) == set(parts[:2]))
        second = filler(streamed.directory)
        tell(second, everything(streamed))
        time.sleep(2.0)
        assert here(streamed) == set(parts[:2]), "the second one waits"
        first.send_signal(signal.SIGKILL)
        first.communicate()
        until(lambda: here(streamed) == set(parts))
        second.communicate()  # ends with its input
        assert traffic().bytes_read == sum(sizes.values()), "no part came twice"


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with embedded_s3(tmp_path / "server") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield "s3://oaml/faces"


def test_a_filler_that_is_killed_at_any_moment_leaves_whole_parts_alone(
    bucket: str, made: Config, uri: str, tmp_path: Path
) -> None:
    store = open_store(bucket)
    store.put_tree(Path(made.store) / "datasets", "datasets")
    dataset = fetch_prepared(store.url(f"datasets/{uri.rpartition('/')[2]}"), tmp_path / "node" / "set", "stream")
    digests = {number: file.sha256 for number, file in parts_of(dataset).items()}
    for pause in (0.5, 0.7, 0.8, 0.9):
        process = filler(dataset.directory)
        tell(process, everything(dataset))
        time.sleep(pause)
        process.kill()
        process.communicate()
        for number in here(dataset):
            assert sha256_of(dataset.directory / parts_of(dataset)[number].path) == digests[number]
    fill(dataset)
    assert here(dataset) == set(digests)
    again = open_prepared(dataset.directory)
    assert [again.train.encoded(n) for n in (0, 5)] == [dataset.train.encoded(n) for n in (0, 5)]


def test_leftovers_of_killed_writers_go(streamed: PreparedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    left = streamed.directory / "train" / ".part-00001.rec.unproved.0123abcd.tmp"
    left.write_bytes(b"half")
    plans: queue.Queue[Wanted | None] = queue.Queue()
    plans.put(None)
    PartFiller(streamed.directory, None, plans).run()
    assert left.exists(), "somebody may be writing it"
    monkeypatch.setattr(part_filler, "ABANDONED_SECONDS", -1.0)
    plans.put(None)
    PartFiller(streamed.directory, None, plans).run()
    assert not left.exists()


def test_neighbouring_records_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed_parts, "GAP_BYTES", 100)
    places = [RecordPlace(0, 0, 10), RecordPlace(0, 109, 10), RecordPlace(0, 300, 10), RecordPlace(1, 310, 10)]
    assert joined(places) == [places[:2], places[2:3], places[3:]]
