"""Values of a pickle that holds plain data: bytes and arrays, noted where they stand in the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from oaml_core.errors import DataError


@dataclass(frozen=True, slots=True)
class BytesAt:
    """Bytes that stand in the pickle file as they are."""

    offset: int
    length: int

    def read(self, file: BinaryIO) -> bytes:
        """Return the bytes, from the open pickle file."""
        file.seek(self.offset)
        return file.read(self.length)


@dataclass
class PlainArray:
    """A pickled NumPy array of numbers, not read yet."""

    shape: tuple[int, ...] = ()
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype("u1"))
    data: BytesAt | bytes = b""
    fortran_order: bool = False

    def read(self, file: BinaryIO) -> NDArray[Any]:
        """Return the array, from the open pickle file; raises DataError if bytes and shape do not fit."""
        data = self.data.read(file) if isinstance(self.data, BytesAt) else self.data
        try:
            return np.frombuffer(data, self.dtype).reshape(self.shape, order="F" if self.fortran_order else "C")
        except ValueError as error:
            raise DataError(f"a pickled array does not fit its shape {self.shape}: {error}") from None
