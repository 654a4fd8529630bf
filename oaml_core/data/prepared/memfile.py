"""Images as one memory-mapped array: `<name>.dat` beside `<name>.dat.conf`.

The layout that face-recognition tools already use: the `.dat` is the bare array in C order, the `.conf` is JSON with
`shape` and `dtype`. Ours add `sha256`, the checksum of the `.dat`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.array_files import plain_type
from oaml_core.errors import DataError
from oaml_core.structured_text import parse_json


def conf_path(path: Path) -> Path:
    """Return the path of the description of a memfile: `lfw.dat.conf` for `lfw.dat`."""
    return path.with_name(path.name + ".conf")


class MemfileWriter:
    """Writes a memfile row by row, in memory that does not depend on how many there are.

    A context manager. Both files appear under their names only when all rows were written; after an exception
    nothing is left.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str = "uint8") -> None:
        self.path = path
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.rows = 0
        self._digest = hashlib.sha256()

    def __enter__(self) -> MemfileWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._unfinished = self.path.with_name(f".{self.path.name}.{os.getpid()}.unfinished")
        self._file = self._unfinished.open("wb")
        return self

    def write(self, row: NDArray[Any]) -> None:
        """Append one row, of the announced shape and dtype."""
        if row.shape != self.shape[1:] or row.dtype != self.dtype:
            raise DataError(
                f"row {self.rows} of {self.path.name} is {row.dtype}{list(row.shape)}; "
                f"{self.dtype}{list(self.shape[1:])} is wanted."
            )
        data = np.ascontiguousarray(row).data
        self._file.write(data)
        self._digest.update(data)
        self.rows += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if kind is not None or self.rows != self.shape[0]:
            self._unfinished.unlink()
            if kind is None:
                raise DataError(f"{self.path.name}: {amount(self.rows, 'row')} written of {self.shape[0]} announced.")
            return
        conf = {
            "shape": list(self.shape),
            "dtype": self.dtype.name,
            "sha256": self._digest.hexdigest(),
        }
        unfinished_conf = self._unfinished.with_suffix(".conf")
        unfinished_conf.write_text(json.dumps(conf))
        os.replace(self._unfinished, self.path)
        os.replace(unfinished_conf, conf_path(self.path))


def open_memfile(path: Path) -> np.memmap[Any, Any]:
    """Return the array, read-only.

    Raises:
        DataError: a file is missing, or its size is not what the `.conf` says.
    """
    try:
        conf = _conf(path)
        shape, dtype = tuple(map(int, conf["shape"])), plain_type(conf["dtype"])
        if not shape or min(shape) < 1 or dtype.hasobject:
            raise ValueError(f"{dtype}{list(shape)} is no array of numbers")
        size = path.stat().st_size
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise DataError(f"{path} cannot be opened as a memfile ({error}); prepare the data set again.") from None
    if size != math.prod(shape) * dtype.itemsize:  # which may have thousands of digits
        raise DataError(
            f"{path} has {amount(size, 'byte')}, which is not what {conf_path(path).name} announces; prepare the data "
            "set again."
        )
    return np.memmap(path, dtype=dtype, mode="r", shape=shape)


def _conf(path: Path) -> dict[str, Any]:
    file = conf_path(path)
    return parse_json(file.read_bytes(), str(file), "Prepare the data set again.", DataError)


def verify_memfile(path: Path) -> None:
    """Compare a memfile written by OAML with its checksum; raises DataError on a difference."""
    open_memfile(path)
    expected = _conf(path).get("sha256")
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if expected is not None and actual != expected:
        raise DataError(f"{path} does not match its checksum; it was damaged: prepare the data set again.")
