"""Progress of long work: a bar on a terminal, a line every so often in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")
SECONDS_BETWEEN_LINES = 15.0


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """`items`, shown as they pass."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, total=total, desc=what, leave=False)
        return
    said = time.monotonic()
    for number, item in enumerate(items):
        if time.monotonic() - said > SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            log.info("%s: %d of %d", what, number, total)
        yield item
