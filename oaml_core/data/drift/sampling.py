"""Draw faces from a prepared data set in its store, without fetching it."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.data.prepared.manifest import Manifest
from oaml_core.data.sources.recordio import parse_record
from oaml_core.decoding.decode import decode_image, fit_square
from oaml_core.errors import DataError

if TYPE_CHECKING:
    from oaml_core.store import Store

READERS = 16
"""Faces that are read at a time: each waits for the store most of the time."""
HEADER = 4096
"""Bytes that the header of an array file fits into."""
Face = tuple[NDArray[np.uint8], NDArray[np.float32] | None]


class _RemoteArray:
    """Rows of a `.npy` file in a store, read one by one."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, key
        head = io.BytesIO(store.read_range(key, 0, HEADER))
        try:
            version = np.lib.format.read_magic(head)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            self.shape, _, self.dtype = read(head)
        except ValueError as error:
            raise DataError(f"{store.url(key)} is no array ({error}); prepare the data set again.") from None
        self._start = head.tell()

    def row(self, number: int) -> NDArray[Any]:
        """Return row `number`; raises DataError if the array is damaged."""
        size = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        data = self._store.read_range(self._key, self._start + number * size, size)
        if len(data) != size or self.dtype.hasobject:
            raise DataError(
                f"{self._store.url(self._key)} is damaged: row {number} is cut off; prepare the data set again."
            )
        return np.frombuffer(data, self.dtype).reshape(self.shape[1:])


class FaceSample:
    """Training faces of a prepared data set, drawn by a seed.

    Args:
        store: where the data set's files lie.
        manifest: names them.
        count: faces to draw at most, without replacement.
        seed: of the draw.
    """

    def __init__(self, store: Store, manifest: Manifest, count: int, seed: int = 0) -> None:
        self._store, self._manifest = store, manifest
        self._keys = {file.path: file.key for file in manifest.files}
        self._arrays = {name: _RemoteArray(store, self._keys[f"train/{name}.npy"]) for name in ("parts", "offsets")}
        self._arrays["sizes"] = _RemoteArray(store, self._keys["train/sizes.npy"])
        images = self._arrays["parts"].shape[0]
        generator = np.random.default_rng(seed)
        self.numbers = np.sort(generator.choice(images, min(count, images), replace=False))

    def faces(self) -> list[Face]:
        """Read the faces: uint8 [S, S, 3] RGB, and points [5, 2] where the data set has them."""
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(self._face, map(int, self.numbers)))

    @cached_property
    def _landmarks(self) -> _RemoteArray | None:
        key = self._keys.get("train/landmarks.npy")
        return None if key is None else _RemoteArray(self._store, key)

    def _face(self, number: int) -> Face:
        part, offset, size = (int(self._arrays[name].row(number)) for name in ("parts", "offsets", "sizes"))
        record = parse_record(self._store.read_range(self._keys[f"train/part-{part:05d}.rec"], offset, size))
        image = decode_image(record.image, self._manifest.channel_order)
        points = None if self._landmarks is None else self._landmarks.row(number)
        return fit_square(image, self._manifest.image_size), points
