"""Processes that decode images, and how their batches reach the trainer: whole, or with an error that says why not."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, MutableSequence, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Event, Timer
from typing import Any
from weakref import WeakMethod

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, get_worker_info

from oaml_core.config import DataConfig
from oaml_core.errors import DataError, OamlError
from oaml_core.kept_memory import let_go
from oaml_core.processes import die_with_parent

Held = Callable[[], Iterable[Tensor]]
ROOM_SECONDS = 30.0
"""Time that a batch waits for room in shared memory: what the trainer has taken in is free again at once."""
LOST_SECONDS = 600
"""Time after which a batch that has not come is taken for lost."""


def batch_loader(
    dataset: Dataset[Any],
    batches: BatchSampler | Sampler[Any],
    collate: Callable[[list[Any]], Any],
    config: DataConfig,
) -> DataLoader[Any]:
    """Return a loader with as many processes as configured.

    Args:
        dataset: gives an item for a key.
        batches: give lists of keys.
        collate: makes a batch of items: a tensor, or a tuple in which tensors are, however deep.
        config: `num_workers`, `pin_memory`, `persistent_workers` and `prefetch_factor` of it count.

    Returns:
        A loader whose iteration raises an error where a process has died or has no room for its batch, and where none
        has come for `LOST_SECONDS`. Errors of OAML in such a process are raised as they were there.
    """
    if config.num_workers == 0:
        return DataLoader(dataset, batch_sampler=batches, collate_fn=collate)
    processes: MutableSequence[int] = multiprocessing.RawArray("q", config.num_workers)
    loader = _Loader(
        _Items(dataset),
        batch_sampler=batches,
        collate_fn=SharedBatches(collate),
        num_workers=config.num_workers,
        pin_memory=config.pin_memory and torch.cuda.is_available(),
        persistent_workers=config.persistent_workers,
        prefetch_factor=config.prefetch_factor,
        worker_init_fn=partial(stand_apart, processes),
        timeout=LOST_SECONDS,
    )
    loader.processes = processes
    return loader


_unread: list[WeakMethod[Held]] = []


def not_for_decoders(tensors: Held) -> None:
    """Keep tensors that the trainer changes all the time out of the processes that decode.

    Those are forked, and would hold every page as it was: in the end a second copy of weights and momentum.

    Args:
        tensors: method that gives them, called in such a process when it begins; its object is not kept alive.
    """
    _unread.append(WeakMethod(tensors))


@dataclass(frozen=True)
class Refused:
    """An error on its way to the trainer. PyTorch would send its traceback, as the text of another one."""

    kind: type[OamlError]
    said: str

    @classmethod
    def by(cls, error: OamlError) -> Refused:
        """Return what can be sent of an error: the nearest of the library's general ones, which take a text alone."""
        return cls(next(kind for kind in type(error).__mro__ if kind.__module__ == OamlError.__module__), str(error))


class _Items(Dataset[Any]):
    """Items of a data set, all of a batch, or the error that one of them gave."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitems__(self, keys: Sequence[Any]) -> list[Any] | Refused:
        try:
            if hasattr(self.dataset, "__getitems__"):
                items: list[Any] = self.dataset.__getitems__(keys)
                return items
            return [self.dataset[key] for key in keys]
        except OamlError as error:
            return Refused.by(error)


class _Loader(DataLoader[Any]):
    """Loader that raises what the processes were refused, and that no process keeps waiting for ever.

    PyTorch's own limit ends with the message that a batch is ready. Its memory is then asked for in the process that
    made it, without a limit: one that stands still, stopped or in a call that never returns, would never answer.
    """

    processes: Sequence[int] = ()
    """Numbers of the processes, 0 for those that have not begun."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # of PyTorch's own iterator nothing else is used
        batches = super().__iter__()
        while True:
            ended = Event()
            missed = Timer(2 * LOST_SECONDS, self._end_processes, [ended])
            missed.daemon = True
            missed.start()
            try:
                batch = next(batches)
            except StopIteration:
                return
            except (OSError, EOFError, RuntimeError) as error:
                if ended.is_set():
                    raise RuntimeError(f"No batch for {2 * LOST_SECONDS} s: a decoding process stood still.") from error
                raise
            finally:
                missed.cancel()
            if isinstance(batch, Refused):
                raise batch.kind(batch.said)
            yield batch

    def _end_processes(self, ended: Event) -> None:
        ended.set()  # who waits for one of them now reads the end of a connection
        for process in self.processes:
            with suppress(ProcessLookupError):
                if process:
                    os.kill(process, signal.SIGKILL)


class SharedBatches:
    """Batches whose tensors lie in shared memory before they are sent.

    Left to the queue, a thread moves them there, and a batch for which there is no room is dropped with nothing but a
    line on the screen: the trainer would wait for it for ever.

    Args:
        collate: makes a batch of items.
    """

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, items: list[Any] | Refused) -> Any:
        """Return a batch, or why there is none: shared memory may have had no room for it for `ROOM_SECONDS`."""
        if isinstance(items, Refused):
            return items
        try:
            batch = self.collate(items)
            if get_worker_info() is not None:
                _share(_tensors(batch))
            return batch
        except OamlError as error:
            return Refused.by(error)


def _tensors(batch: Any) -> list[Tensor]:
    if isinstance(batch, Tensor):
        return [batch]
    return [tensor for part in batch for tensor in _tensors(part)] if isinstance(batch, tuple) else []


def _share(tensors: list[Tensor]) -> None:
    deadline = time.monotonic() + ROOM_SECONDS
    while True:
        try:
            for tensor in tensors:
                tensor.share_memory_()
            return
        except RuntimeError as error:
            if time.monotonic() > deadline:
                raise DataError(
                    f"A batch of {sum(tensor.nbytes for tensor in tensors):,} bytes finds no room in shared memory: "
                    f"{error}. Enlarge /dev/shm (docker run --shm-size 8g; on Kubernetes a volume of medium Memory), "
                    "or lower data.prefetch_factor, data.batch_size or data.num_workers; with data.num_workers 0 none "
                    "is needed."
                ) from error
        time.sleep(0.1)


def stand_apart(processes: MutableSequence[int], number: int) -> None:
    """Let a process that decodes images pass over signals to the trainer's process group, end with the trainer, and
    hold nothing of what `not_for_decoders` names.

    torchrun and the terminal signal the group. The trainer answers after its step, and needs the images until then; it
    can still end this process by a signal of its own, as it does at its exit.

    Args:
        processes: receives this process' number in the system.
        number: of this process among those of the loader.
    """
    processes[number] = os.getpid()
    die_with_parent(signal.SIGKILL)
    os.setpgid(0, 0)
    for tensors in [method() for method in _unread]:
        for storage in [tensor.untyped_storage() for tensor in tensors()] if tensors is not None else []:
            if storage.device.type == "cpu":
                let_go(storage.data_ptr(), storage.nbytes())
