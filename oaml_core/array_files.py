"""Reads `.npy` and `.npz` files, with bounded work: the one place where arrays of others are read.

Nothing is unpickled. What the header announces must be there, so that a small file never takes much memory.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.errors import OamlError
from oaml_core.folder_entries import open_regular

MOST_UNPACKED = 64 * 2**20
"""Bytes that any archive may unpack to."""
MOST_RATIO = 200
"""Times its own size that a larger archive may unpack to; scores take less than a tenth of that."""
PLAIN_TYPE = re.compile(r"[<>|=]?[biufc][0-9]{1,2}|bool|(u?int|float|complex)[0-9]{1,3}")
HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_array(source: Path | bytes, what: str, remedy: str, error: type[OamlError]) -> NDArray[Any]:
    """Return the array in a `.npy` file.

    Args:
        source: the file, or its content.
        what: how error messages call it.
        remedy: a sentence of the error message: what the user can do.
        error: class of the error.

    Raises:
        OamlError: of class `error`: it is missing, damaged, or holds objects.
    """
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else open_regular(source) as file:
            return _read(file)
    except Exception as reason:  # numpy takes the header apart as Python code, which ends in many ways
        raise _damaged(what, remedy, error, reason) from None


def map_array(path: Path, what: str, remedy: str, error: type[OamlError]) -> NDArray[Any]:
    """Return the array in a `.npy` file as a memory map, read-only; arguments and errors as of `read_array`."""
    try:
        with open_regular(path) as file:
            shape, in_columns, dtype = _header(file)
            offset = file.tell()
            if path.stat().st_size - offset != math.prod(shape) * dtype.itemsize:
                raise ValueError(
                    f"it announces {dtype}{list(shape)}, and has {amount(path.stat().st_size - offset, 'byte')}"
                )
            if 0 in shape:  # nothing that could be mapped
                return np.zeros(shape, dtype)
        return np.memmap(path, dtype, "r", offset, shape, order="F" if in_columns else "C")
    except Exception as reason:  # as above
        raise _damaged(what, remedy, error, reason) from None


def read_arrays(source: Path | bytes, what: str, remedy: str, error: type[OamlError]) -> dict[str, NDArray[Any]]:
    """Return all arrays of a `.npz` archive by their names; arguments and errors as of `read_array`."""
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else open_regular(source) as file:
            size = file.seek(0, io.SEEK_END)
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                unpacked = sum(member.file_size for member in members)
                if unpacked > max(MOST_UNPACKED, MOST_RATIO * size):
                    raise ValueError(f"{amount(size, 'byte')} would unpack to {unpacked:,}")
                found = {}
                for member in members:
                    with archive.open(member) as content:
                        found[member.filename.removesuffix(".npy")] = _read(io.BytesIO(content.read()))
                return found
    except Exception as reason:  # as above, and by the kind of compression
        raise _damaged(what, remedy, error, reason) from None


def plain_type(name: object) -> np.dtype[Any]:
    """Return the type of numbers called `name`, as `float32` or `<f4`.

    Raises:
        ValueError: it names another type, or several. numpy would take longer texts apart as Python code.
    """
    if not isinstance(name, str) or not PLAIN_TYPE.fullmatch(name):
        raise ValueError(f"{str(name)[:40]!r} is no type of numbers")
    try:
        return np.dtype(name)
    except TypeError:
        raise ValueError(f"{name!r} is no type of numbers") from None


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether columns come first, and type that a `.npy` announces; the file is then at its data."""
    version = np.lib.format.read_magic(file)
    if version not in HEADER_READERS:
        raise ValueError(f"it has version {version} of the format; 1.0 and 2.0 are read")
    shape, in_columns, dtype = HEADER_READERS[version](file)
    if dtype.hasobject or any(size < 0 for size in shape):
        raise ValueError(f"it announces {dtype}{list(shape)}; numbers and texts are read")
    return shape, in_columns, dtype


def _read(file: BinaryIO) -> NDArray[Any]:
    shape, in_columns, dtype = _header(file)
    data = bytearray(file.read())  # of bytes alone an array could not be changed
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"it announces {dtype}{list(shape)}, and has {amount(len(data), 'byte')}")
    if not len(data):
        return np.zeros(shape, dtype)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if in_columns else "C")


def _damaged(what: str, remedy: str, error: type[OamlError], reason: Exception) -> OamlError:
    if isinstance(reason, FileNotFoundError):
        return error(f"There is no {what}. {remedy}")
    text = " ".join(str(getattr(reason, "strerror", None) or reason).split())[:200] or type(reason).__name__
    return error(f"{what} cannot be read as arrays ({text}). {remedy}")
