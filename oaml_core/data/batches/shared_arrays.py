"""Arrays that the workers of a node compute once and hold once: files that each of them maps."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oaml_core.array_files import map_array
from oaml_core.errors import DataError
from oaml_core.file_lock import locked

log = logging.getLogger(__name__)
Ints = NDArray[np.int64]


class SharedArrays:
    """Arrays by name in a folder on the node's own disk. The first worker that wants one makes it, the others wait.

    Args:
        folder: made if need be; for one launcher's workers alone, and removed with it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._last: dict[str, Path] = {}

    def get(self, kind: str, name: str, make: Callable[[], Ints]) -> Ints:
        """Return the array, read only; where the disk is full, one of this worker's own.

        Args:
            kind: arrays of a kind replace each other: who takes a new one removes the file of the last. Whoever still
                maps that keeps it.
            name: what the array is a function of; without a slash.
            make: computes it.

        Raises:
            DataError: the file was damaged by somebody else.
        """
        path = self.folder / f"{kind}-{name}.npy"
        with (self.folder / f"{kind}.lock").open("a") as lock, locked(lock):
            if not path.exists():
                made = make()
                try:
                    self._write(path, made)
                except OSError as error:
                    log.warning("%s cannot be shared by this node's workers, each makes its own: %s", kind, error)
                    return made
            # Opened below the lock: the next one may be made at once.
            remedy = "Start the run again: the folder is the launcher's own, and new each time."
            shared = map_array(path, str(path), remedy, DataError)
            last, self._last[kind] = self._last.get(kind, path), path
            if last != path:
                last.unlink(missing_ok=True)
            return shared

    def _write(self, path: Path, array: Ints) -> None:
        """Write by rename, so that a worker that is killed leaves nothing that looks whole."""
        descriptor, partial = tempfile.mkstemp(dir=self.folder, suffix=".partial")
        try:
            with os.fdopen(descriptor, "wb") as file:
                np.save(file, array)
            Path(partial).replace(path)
        finally:
            Path(partial).unlink(missing_ok=True)
