"""Lines that a run writes down while it works: a disk that fails delays them, and never stops the run."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from pathlib import Path

from oaml_core.whole_file import written_whole

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 10.0
"""How long the end of a run waits for a disk that does not take its last lines."""
RETRY_SECONDS = 0.2
MOST_WAITING = 200_000
"""Lines that wait in memory for a disk; the oldest are given up beyond."""


class LineFile:
    """A text file that grows by whole lines. What cannot be written waits, and is written with a later line.

    Args:
        path: the file; lines are added to its end.
        beginning: content that replaces what is there, as soon as the disk takes it; None: what is there stays.
    """

    def __init__(self, path: Path, beginning: str | None = None) -> None:
        self.path = path
        self.given_up = 0
        """Lines that are missing in the file for good."""
        self._beginning = beginning
        self._waiting: deque[str] = deque()
        self._failed = False
        self._write()

    def add(self, *lines: str) -> None:
        """Write lines, each without its line break, or keep them for later."""
        self._waiting.extend(lines)
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
            self.given_up += 1
        self._write()

    def close(self) -> None:
        """Write what waits, within `PATIENCE_SECONDS` of tries; say what is missing, if anything is."""
        ends = time.monotonic() + PATIENCE_SECONDS
        self._write()
        while self._failed and time.monotonic() < ends:
            time.sleep(RETRY_SECONDS)
            self._write()
        missing = self.given_up + len(self._waiting)
        if missing or self._beginning is not None:
            log.warning("%s lacks %d lines, which could not be written.", self.path, missing)

    def _write(self) -> None:
        try:
            if self._beginning is not None:
                with written_whole(self.path) as temporary:
                    temporary.write_text(self._beginning)
                self._beginning = None
            if self._waiting:
                _append(self.path, "".join(f"{line}\n" for line in self._waiting).encode())
                self._waiting.clear()
        except OSError as error:
            if not self._failed:
                log.warning("%s cannot be written (%s). Its lines wait, and the work goes on.", self.path, error)
            self._failed = True
            return
        if self._failed:
            log.warning("%s is written again; %d lines are missing in it.", self.path, self.given_up)
        self._failed = False


def _append(path: Path, content: bytes) -> None:
    """Add all of `content` to a file, or nothing."""
    with path.open("ab", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            written = 0
            while written < len(content):
                written += os.write(file.fileno(), content[written:])
        except OSError:
            os.ftruncate(file.fileno(), size)
            raise
