"""Which samples a run consumed, by what its workers wrote down, and which it was to consume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from oaml_core.config import Config
from oaml_core.data.batches.samplers import build_batch_sampler

Batch = tuple[int, int]
"""Epoch, and number in it."""
Consumed = dict[Batch, list[int]]


def entries(*run_dirs: Path) -> list[tuple[int, dict[str, Any]]]:
    """(rank, what it wrote) of all workers on all nodes, in order of time."""
    found = [
        (int(path.stem.rpartition("-")[2]), json.loads(line))
        for run_dir in run_dirs
        for path in run_dir.glob("samples-*.jsonl")
        for line in path.read_text().splitlines()
    ]
    return sorted(found, key=lambda entry: entry[1]["time"])


def attempts(*run_dirs: Path) -> list[tuple[int, set[Batch]]]:
    """Number of workers, and the batches that they did, as often as that number changed."""
    found: list[tuple[int, set[Batch]]] = []
    for _, entry in entries(*run_dirs):
        if not found or found[-1][0] != entry["world_size"]:
            found.append((entry["world_size"], set()))
        found[-1][1].add((entry["epoch"], entry["batch"]))
    return found


def consumed(*run_dirs: Path) -> Consumed:
    """Samples of each batch in order of rank, as they went into the weights last."""
    found: dict[Batch, tuple[int, dict[int, list[int]]]] = {}
    for rank, entry in entries(*run_dirs):
        key = entry["epoch"], entry["batch"]
        size, ranks = found.get(key, (0, {}))
        kept = ranks if size == entry["world_size"] else {}  # else the batch is done again, by other workers
        found[key] = entry["world_size"], kept | {rank: entry["samples"]}
    return {key: [sample for rank in sorted(ranks) for sample in ranks[rank]] for key, (_, ranks) in found.items()}


def planned(config: Config, labels: np.ndarray, epochs: int) -> Consumed:
    """The batches that the sampler plans for so many epochs."""
    sampler = build_batch_sampler(config.data, labels, seed=config.seed)
    found: Consumed = {}
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for batch in range(len(sampler)):
            found[epoch, batch] = [key.image for key in sampler.global_batch(batch)]
    return found
