"""The workers of a node hold a plan once: the same plan as alone, made by one of them."""

from __future__ import annotations

import errno
import logging
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oaml_core.data.batches.graph_sampler import GraphBatchSampler
from oaml_core.data.batches.plan import BatchSampler
from oaml_core.data.batches.samplers import PKBatchSampler, RandomIdentityBatchSampler, ShuffleBatchSampler
from oaml_core.data.batches.shared_arrays import SharedArrays

LABELS = np.repeat(np.arange(12), 6)
ON_A_LINE = np.array([[(own + step) % 12 for step in (1, 2, 3)] for own in range(12)])


def graph(labels: np.ndarray = LABELS, *, neighbours: np.ndarray = ON_A_LINE, **place: Any) -> GraphBatchSampler:
    return GraphBatchSampler(
        labels, 8, num_instances=2, nearest=lambda classes, count: neighbours[classes, :count], seed=3, **place
    )


def pk(labels: np.ndarray = LABELS, **place: Any) -> BatchSampler:
    return PKBatchSampler(labels, 8, num_instances=2, seed=3, **place)


def random_identity(labels: np.ndarray = LABELS, **place: Any) -> BatchSampler:
    return RandomIdentityBatchSampler(labels, 8, num_instances=2, seed=3, **place)


def shuffle(labels: np.ndarray = LABELS, **place: Any) -> BatchSampler:
    return ShuffleBatchSampler(labels, 8, seed=3, **place)


KINDS = [graph, pk, random_identity, shuffle]


def whole(sampler: BatchSampler, epoch: int) -> list[Any]:
    sampler.set_epoch(epoch)
    return [sampler.global_batch(number) for number in range(len(sampler))]


@pytest.mark.parametrize("kind", KINDS)
def test_a_shared_plan_is_the_plan_and_is_made_once(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [whole(kind(), epoch) for epoch in range(3)]
    made = []
    plan = kind()._plan.__func__
    monkeypatch.setattr(type(kind()), "_plan", lambda self, generator: made.append(1) or plan(self, generator))
    workers = [kind(rank=rank, world_size=3) for rank in range(3)]
    for worker in workers:
        worker.share(SharedArrays(tmp_path))
    for epoch in range(3):
        assert all(whole(worker, epoch) == expected[epoch] for worker in workers)
        assert len(made) == epoch + 1
        assert len(list(tmp_path.glob("*.npy"))) == 1, "that of the epoch before is gone"


def test_what_a_plan_depends_on_keeps_plans_apart(tmp_path: Path) -> None:
    arrays = SharedArrays(tmp_path)
    others = [
        pk(),
        pk(np.roll(LABELS, 1)),
        random_identity(),
        PKBatchSampler(LABELS, 8, num_instances=2, seed=4),
        PKBatchSampler(LABELS, 8, num_instances=4, seed=3),
        graph(),
        graph(neighbours=ON_A_LINE[:, ::-1]),
    ]
    for sampler in others:
        expected = whole(sampler, 0)
        sampler._planned = None
        sampler.share(arrays)
        assert whole(sampler, 0) == expected


def _plans(folder: str, rank: int, start: Any, answers: Any) -> None:
    sampler = pk(np.repeat(np.arange(500), 40), rank=rank, world_size=4)
    sampler.share(SharedArrays(Path(folder)))
    start.wait()
    for epoch in range(3):
        start.wait()
        sampler.set_epoch(epoch)
        answers.put((epoch, [key.image for batch in list(sampler)[:50] for key in batch], rank))


def test_processes_that_start_at_once_share_out_one_plan(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, answers = context.Barrier(4), context.Queue()
    processes = [context.Process(target=_plans, args=(str(tmp_path), rank, start, answers)) for rank in range(4)]
    for process in processes:
        process.start()
    found = {(epoch, rank): images for epoch, images, rank in (answers.get(timeout=60) for _ in range(12))}
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    alone = pk(np.repeat(np.arange(500), 40))
    for epoch in range(3):
        planned = whole(alone, epoch)[:50]
        for number, batch in enumerate(planned):
            slices = [found[epoch, rank][number * 2 : number * 2 + 2] for rank in range(4)]
            assert [image for part in slices for image in part] == [key.image for key in batch]
    assert not list(tmp_path.glob("*.partial"))


def test_on_a_full_disk_each_worker_makes_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    sampler = pk()
    sampler.share(SharedArrays(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert whole(sampler, 1) == whole(pk(), 1)
    assert "cannot be shared" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["plan.lock"]
