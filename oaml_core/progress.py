"""Progress of long work: a bar on a terminal, a line every so often in a log."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")
SECONDS_BETWEEN_LINES = 15.0


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yield the items and show how many have passed: a bar on a terminal, a line now and then in a log."""
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


@contextmanager
def bytes_progress(total: int | None, what: str) -> Iterator[Callable[[int], None]]:
    """A function to call, from any thread, with the bytes that have just moved; they are shown if it takes long.

    Args:
        total: bytes; None: not known.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        bar = tqdm(total=total, desc=what, unit="B", unit_scale=True, unit_divisor=1024, leave=False, delay=0.5)
        with bar:
            yield bar.update
        return
    yield _BytesLog(total, what).moved


class _BytesLog:
    """A line every so often that says how much has moved."""

    def __init__(self, total: int | None, what: str) -> None:
        self._of = "" if total is None else f" of {total / 1e6:,.1f}"
        self._what = what
        self._bytes = 0
        self._said = time.monotonic()
        self._lock = threading.Lock()

    def moved(self, count: int) -> None:
        with self._lock:
            self._bytes += count
            if time.monotonic() - self._said > SECONDS_BETWEEN_LINES:
                self._said = time.monotonic()
                log.info("%s: %.1f%s MB", self._what, self._bytes / 1e6, self._of)
