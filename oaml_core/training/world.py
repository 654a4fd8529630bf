"""The workers of a run: who this one is, and what they exchange."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """Place of this worker among all workers: rank, size and local rank."""

    rank: int
    """Number of this worker among all, from 0."""
    size: int
    """Workers in all."""
    local_rank: int
    """Number of this worker on its node."""
    local_size: int
    """Workers on this node."""

    @classmethod
    def from_environment(cls) -> World:
        """Read the worker's place from torchrun's RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE; without them,
        one worker.
        """
        keys = {"rank": ("RANK", 0), "size": ("WORLD_SIZE", 1)}
        local = {"local_rank": ("LOCAL_RANK", 0), "local_size": ("LOCAL_WORLD_SIZE", 1)}
        return cls(**{k: int(os.environ.get(name, default)) for k, (name, default) in (keys | local).items()})

    @property
    def node(self) -> range | None:
        """Ranks of this node's workers on the one of them that works for all of them; None on the others."""
        return range(self.rank, self.rank + self.local_size) if self.local_rank == 0 else None

    @property
    def is_main(self) -> bool:
        """Return True on the one worker that writes logs and checkpoints."""
        return self.rank == 0


def gather_objects(local: T) -> list[T]:
    """Return every worker's object, in order of rank."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return [local]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, local)
    return parts


def broadcast_object(value: T, source: int = 0) -> T:
    """Return the `value` of worker number `source`, on every worker."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return value
    box: list[Any] = [value]
    dist.broadcast_object_list(box, src=source)
    result: T = box[0]
    return result


def any_worker(*flags: bool) -> list[bool]:
    """Return each flag, True on every worker if it is on one of them."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return list(flags)
    counts = torch.tensor(flags, dtype=torch.int32)
    dist.all_reduce(counts)
    return counts.bool().tolist()
