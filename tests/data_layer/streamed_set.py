"""A data set of many small parts, streamed: which parts are here, and how they come."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oaml_core.config import Config
from oaml_core.data.prepared import fetched_files
from oaml_core.data.prepared.part_filler import PartFiller, Wanted
from oaml_core.data.prepared.prepared import PreparedDataset


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


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
