"""The process of a node that brings parts of a streamed data set while its workers train.

    python -m oaml_core.data.prepared.part_filler FOLDER [--limit BYTES]

Each line that it reads is a JSON object `{"order": […], "needs": […]}`: numbers of parts in the order in which the plan
comes to them, and how many images of each it still wants. The last line counts; the process ends with its input. One
process per data set and node is at work, others wait for it to end.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import queue
import signal
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TextIO

from oaml_core.data.prepared.fetched_files import (
    bring,
    is_part,
    is_there,
    noted_store,
    part_number,
    room_for_parts,
)
from oaml_core.data.prepared.manifest import MANIFEST, ManifestFile, parse_manifest
from oaml_core.data.prepared.streamed_parts import part_path
from oaml_core.errors import OamlError
from oaml_core.file_lock import locked
from oaml_core.store import Store, open_store
from oaml_core.store.local_file import is_temporary

log = logging.getLogger(__name__)
LOCK = ".filler.lock"
TRANSFERS = 4
"""Parts that come at a time."""
ABANDONED_SECONDS = 60.0
"""Time without a write after which a temporary file is nobody's."""
LOOK_SECONDS = 30.0
"""Time after which parts that failed are tried again, and those that a reader removed as damaged come again."""
WORTH = 2
"""A part that is here goes only for one that is wanted so many times as often: parts are large."""


class Wanted(NamedTuple):
    """Images of each part that a node's workers still want in an epoch."""

    order: list[int]
    """Numbers of the parts, in the order in which the plan comes to them."""
    needs: list[int]
    """Images wanted of each."""


class Choice(NamedTuple):
    """Parts that should come, and parts that may go for them."""

    come: list[int]
    """In the order of the plan."""
    go: list[int]
    """Parts that are wanted least come first."""


def choose(wanted: Wanted, sizes: dict[int, int], here: set[int], room: int) -> Choice:
    """Return which parts should be here: those with the most wanted images that have room together.

    Args:
        sizes: bytes of every part of the data set.
        here: parts that are here.
        room: bytes that may still come beside them.
    """
    needs = dict.fromkeys(sizes, 0) | dict(zip(wanted.order, wanted.needs, strict=True))
    room += sum(sizes[part] for part in here)
    kept = set()
    for part in sorted(needs, key=lambda part: -needs[part] * (WORTH if part in here else 1)):
        if sizes[part] <= room and (needs[part] or part in here):
            kept.add(part)
            room -= sizes[part]
    come = [part for part in wanted.order if part in kept - here]
    return Choice(come, sorted(here - kept, key=needs.__getitem__))


class PartFiller:
    """Keeps as many of the wanted parts in a data set's folder as there is room for.

    Args:
        directory: of the data set, as `fetch_prepared` left it.
        limit: bytes that data sets may take there; None: the volume alone decides.
        plans: what is wanted, the newest last; None ends the work.
    """

    def __init__(self, directory: Path, limit: int | None, plans: queue.Queue[Wanted | None]) -> None:
        self.directory = directory
        self.limit = limit
        self.plans = plans
        manifest = parse_manifest((directory / MANIFEST).read_bytes(), str(directory / MANIFEST))
        self.files = {part_number(file): file for file in manifest.files if is_part(file)}
        self._store: Store | None = None

    def run(self) -> None:
        """Work until None is told."""
        self._tidy()
        wanted = self.plans.get()
        while wanted is not None:
            self.fill(wanted)
            wanted = self._newest(wanted, LOOK_SECONDS)

    def _tidy(self) -> None:
        """Remove files under temporary names that nobody has written to for a while: their writers were killed."""
        for path in (self.directory / "train").iterdir():
            with suppress(FileNotFoundError):
                if is_temporary(path.name) and time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                    path.unlink()

    def fill(self, wanted: Wanted) -> None:
        """Bring what is wanted and has room, until all of it was tried once or another plan is told."""
        sizes = {part: file.size for part, file in self.files.items()}
        here = {part for part, file in self.files.items() if is_there(self.directory, file)}
        come, go = choose(wanted, sizes, here, room_for_parts(self.directory, self.limit))
        coming: dict[Future[None], int] = {}
        with ThreadPoolExecutor(TRANSFERS) as pool:
            for part in come:
                if not self.plans.empty():
                    break
                while len(coming) >= TRANSFERS or not self._make_room(sizes[part] + sum(coming.values()), go):
                    if not coming:
                        return  # something else takes the room; the next look chooses anew
                    for done in wait(coming, return_when=FIRST_COMPLETED).done:
                        del coming[done]
                coming[pool.submit(self._bring, self.files[part])] = sizes[part]

    def _make_room(self, size: int, go: list[int]) -> bool:
        """Remove parts that may go until `size` bytes have room; False if they have none."""
        while room_for_parts(self.directory, self.limit) < size:
            if not go:
                return False
            part_path(self.directory / "train", go.pop(0)).unlink(missing_ok=True)
        return True

    def _bring(self, file: ManifestFile) -> None:
        """Bring a part; the workers do without it where that fails, and it is tried again."""
        try:
            if self._store is None:
                self._store = open_store(noted_store(self.directory) or "")
            bring(self._store, file, self.directory)
        except (OamlError, OSError) as error:
            log.warning("%s does not come, its images are read one by one: %s", file.path, error)

    def _newest(self, wanted: Wanted, seconds: float) -> Wanted | None:
        """Return the last plan that was told; after `seconds` without one, the present."""
        try:
            last = self.plans.get(timeout=seconds)
            while last is not None:
                last = self.plans.get_nowait()
        except queue.Empty:
            return wanted
        return last


def listen(lines: TextIO, plans: queue.Queue[Wanted | None]) -> None:
    """Put every plan that is told into the queue, and end the process with its input, whatever it is doing."""
    for line in lines:
        plans.put(Wanted(**json.loads(line)))
    os.kill(os.getpid(), signal.SIGKILL)  # a download under way goes on with the next process


def main() -> None:
    """Fill the folder that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    plans: queue.Queue[Wanted | None] = queue.Queue()
    threading.Thread(target=listen, args=(sys.stdin, plans), daemon=True).start()
    with (arguments.folder / LOCK).open("a") as lock, locked(lock):
        PartFiller(arguments.folder, arguments.limit, plans).run()


if __name__ == "__main__":
    main()
