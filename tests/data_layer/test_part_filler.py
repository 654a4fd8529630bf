"""Parts that come while training goes on: within a limit, once per node, and whole whoever is killed."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from oaml_core.config import Config
from oaml_core.data.batches.datamodule import FaceDataModule
from oaml_core.data.batches.parts_ahead import PartsAhead
from oaml_core.data.batches.samplers import PKBatchSampler
from oaml_core.data.prepared import fetched_files, part_filler
from oaml_core.data.prepared.part_filler import PartFiller, Wanted, choose
from oaml_core.data.prepared.prepared import PreparedDataset, fetch_prepared, open_prepared
from oaml_core.embedded_s3 import embedded_s3
from oaml_core.store import open_store
from oaml_core.store.cache import bytes_below
from oaml_core.store.local_file import sha256_of
from oaml_core.store.traffic import metered
from tests.data_layer.streamed_set import everything, fill, here, parts_of, until


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


def test_a_disk_without_room_leaves_the_training_its_images(
    streamed: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetched_files, "MOST_KEPT_FREE", 10**18)
    monkeypatch.setattr(fetched_files, "KEPT_FREE", 1.0)
    fill(streamed)
    assert not here(streamed)
    assert streamed.train.read(0).shape == (3, 112, 112)


def filler(folder: Path, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "oaml_core.data.prepared.part_filler", str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, text=True, **options)


def tell(process: subprocess.Popen[str], wanted: Wanted) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(wanted._asdict()) + "\n")
    process.stdin.flush()


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


def test_what_a_plan_wants_of_a_node_is_counted_from_the_position_on(made: Config, streamed: PreparedDataset) -> None:
    plan = PKBatchSampler(streamed.train.labels, 12, num_instances=2, seed=5, rank=1, world_size=3)
    plan.load_state_dict({"epoch": 1, "batch": 2})
    wanted = PartsAhead(plan, streamed.train, range(1, 3), None).wanted()
    images = [key.image for number in range(2, len(plan)) for key in plan.global_batch(number)[4:]]
    parts = streamed.train.parts_of(np.array(images)).tolist()
    assert wanted == {"order": list(dict.fromkeys(parts)), "needs": list(Counter(parts).values())}


def test_a_process_brings_parts_while_batches_are_read_and_ends_with_them(
    made: Config, streamed: PreparedDataset
) -> None:
    module = FaceDataModule(replace(made, data=replace(made.data, num_workers=2)), streamed, node=range(1))
    assert len(list(module.train_dataloader())) == module.batches_per_epoch
    until(lambda: here(streamed) == set(parts_of(streamed)))
    (first,) = fillers(streamed)
    first.kill()
    first.wait(120)  # a process that is ending has no command line any more, and may not be ended yet
    (streamed.directory / parts_of(streamed)[0].path).unlink()
    module.load_state_dict({"epoch": 1, "batch": 0})
    list(module.train_dataloader())
    until(lambda: 0 in here(streamed))
    module.close()
    assert not fillers(streamed)


def fillers(dataset: PreparedDataset) -> list[psutil.Process]:
    """Processes that bring parts of a data set and have not ended."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile, as those that decode do
            if process.status() != psutil.STATUS_ZOMBIE and str(dataset.directory) in process.cmdline():
                found.append(process)
    return found


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
