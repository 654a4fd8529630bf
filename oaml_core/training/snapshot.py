"""States of a run at a step: how large they are on the CPU, and copies that no longer change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch


class Snapshot(NamedTuple):
    """A state at a step, on the CPU. It no longer changes, or its keeper's caller waits."""

    state: Mapping[str, Any]
    step: int
    best: bool


def bytes_on_cpu(value: Any) -> float:
    """Return the bytes of all tensors of nested state; -inf if one of them is elsewhere."""
    if isinstance(value, torch.Tensor):
        return value.nbytes if value.device.type == "cpu" else -math.inf
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return sum(bytes_on_cpu(part) for part in parts)


def copied(value: Any) -> Any:
    """Return a copy of nested state whose tensors are on the CPU and no longer change."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list | tuple) else value
