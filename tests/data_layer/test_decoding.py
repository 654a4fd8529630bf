"""Processes that decode: whatever happens to a batch on its way, it arrives or is missed aloud."""

import ctypes
import mmap
import resource
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, Dataset

from oaml_core.config import DataConfig
from oaml_core.data.batches.decoding import batch_loader, not_for_decoders
from oaml_core.errors import DataError, StoreError
from oaml_core.kept_memory import let_go
from oaml_core.store.base import DamagedObject

CONFIG = DataConfig(num_workers=1, pin_memory=False, prefetch_factor=2)
FULL = 4_096
"""Bytes beyond which no file grows, shared memory neither, as where it is full."""


class Grey(Dataset[Tensor]):
    """Images whose every pixel says their number."""

    def __len__(self) -> int:
        return 60

    def __getitem__(self, number: int) -> Tensor:
        time.sleep(0.005)
        return torch.full((3, 112, 112), number, dtype=torch.uint8)


def stacked(items: list[Tensor]) -> tuple[Tensor, tuple[Tensor, None], list[int]]:
    """Give a batch as training has them: tensors beside and below one another, and what is none."""
    images = torch.stack(items)
    return images[:2], (images[2:], None), [1]


@pytest.fixture
def others() -> set[psutil.Process]:
    """Processes that other tests have started, and that are to go on."""
    return {*psutil.Process().children()}


def decoders(others: set[psutil.Process]) -> set[psutil.Process]:
    return {*psutil.Process().children()} - others


def limit(most: int, others: set[psutil.Process]) -> None:
    for process in decoders(others):
        process.rlimit(psutil.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


def loader(**of_config: Any) -> Any:
    return batch_loader(Grey(), BatchSampler(range(60), 4, drop_last=True), stacked, replace(CONFIG, **of_config))


class Trained:
    """Weights that a trainer changes while others decode."""

    def __init__(self) -> None:
        self.weights = torch.ones(32, 2**20)

    def tensors(self) -> list[Tensor]:
        return [self.weights, torch.zeros(0)]


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")
def test_a_decoder_holds_no_earlier_copy_of_what_the_trainer_changes(others: set[psutil.Process]) -> None:
    trained = Trained()
    not_for_decoders(trained.tensors)
    batches = iter(loader(persistent_workers=True))
    next(batches)
    (decoder,) = decoders(others)
    before = decoder.memory_full_info().uss
    trained.weights += 1
    assert decoder.memory_full_info().uss - before < 16 * 2**20
    assert (trained.weights == 2).all()
    assert len(list(batches)) == 14


@pytest.mark.skipif(sys.platform != "linux", reason="memory is let go of on Linux")
def test_pages_are_let_go_of_but_for_those_that_others_share() -> None:
    page = mmap.PAGESIZE
    with mmap.mmap(-1, 4 * page, flags=mmap.MAP_PRIVATE) as memory:
        memory.write(b"x" * 4 * page)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        assert let_go(address + 1, 3 * page)
        assert memory[:] == b"x" * page + bytes(2 * page) + b"x" * page
        assert not let_go(address + 1, 2 * page - 2)
        assert memory[page - 1 : page] == b"x"


@pytest.mark.parametrize("count", [1, 2])
def test_batches_wait_for_room_in_shared_memory(count: int, others: set[psutil.Process]) -> None:
    seen = []
    for number, (first, (rest, _), _) in enumerate(loader(num_workers=count)):
        seen += [int(image[0, 0, 0]) for image in (*first, *rest)]
        if number == 3:
            limit(FULL, others)
            time.sleep(1)
            limit(resource.RLIM_INFINITY, others)
    assert seen == list(range(60))


def test_no_room_for_long_is_an_error_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, others: set[psutil.Process]
) -> None:
    monkeypatch.setattr("oaml_core.data.batches.decoding.ROOM_SECONDS", 0.5)
    batches = iter(loader())
    next(batches)
    limit(FULL, others)
    with pytest.raises(DataError, match=r"^A batch of 150,528 bytes finds no room in shared memory.*--shm-size"):  # noqa: PT012
        while True:
            next(batches)


class Damaged(Grey):
    """Images of which number 9 is damaged."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getitem__(self, number: int) -> Tensor:
        if number == 9:
            raise self.error
        return super().__getitem__(number)


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (DataError("training image 9: it is damaged"), DataError, "training image 9: it is damaged"),
        (DamagedObject("s3://a/b is damaged.", "Delete it."), StoreError, "s3://a/b is damaged. Delete it."),
    ],
)
def test_what_a_decoder_says_of_an_image_is_said_as_it_is(
    error: Exception, kind: type[Exception], said: str, count: int
) -> None:
    keys = BatchSampler(range(60), 4, drop_last=True)
    batches = iter(batch_loader(Damaged(error), keys, stacked, replace(CONFIG, num_workers=count)))
    assert [len(next(batches)) for _ in range(2)] == [3, 3]
    with pytest.raises(kind) as told:
        next(batches)
    assert str(told.value) == said


@pytest.mark.parametrize("ahead", [0.0, 1.0])
def test_a_batch_that_never_comes_is_missed(
    ahead: float, monkeypatch: pytest.MonkeyPatch, others: set[psutil.Process]
) -> None:
    monkeypatch.setattr("oaml_core.data.batches.decoding.LOST_SECONDS", 2)
    batches = iter(loader())
    next(batches)
    time.sleep(ahead)  # batches are ready then, and their memory is asked for in the process that stands still
    stopped = decoders(others)
    for process in stopped:
        process.suspend()
    try:
        with pytest.raises(RuntimeError, match=r"timed out after 2 seconds|^No batch for 4 s: a decoding"):  # noqa: PT012
            while True:
                next(batches)
    finally:  # a process that stands still is not ended
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.resume()


ENDS_WITH_A_LOADER = """
import os, signal, sys, time
from torch.utils.data import BatchSampler, default_collate
from oaml_core.config import DataConfig
from oaml_core.data.batches.decoding import batch_loader
keys = BatchSampler(range(1000), 1, False)
loader = batch_loader(range(1000), keys, default_collate, DataConfig(num_workers=1, pin_memory=False))
batches = iter(loader)
next(batches)
signal.signal(signal.SIGTERM, lambda *_: None)
os.killpg(0, signal.SIGTERM)  # as torchrun does
time.sleep(0.5)
assert sum(1 for _ in batches) == 999
print(next(iter(loader)), flush=True)
"""


def test_decoding_processes_survive_a_signal_to_the_group_and_end_with_the_trainer() -> None:
    command = [sys.executable, "-c", ENDS_WITH_A_LOADER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, start_new_session=True, check=False)
    assert (done.returncode, done.stdout) == (0, "tensor([0])\n"), done.stderr
