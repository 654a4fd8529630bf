"""Prepared training faces: RecordIO parts and a memory-mapped index that all processes share."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from oaml_core.array_files import map_array
from oaml_core.data.prepared.streamed_parts import StreamedParts, part_path
from oaml_core.data.sources.recordio import parse_record
from oaml_core.decoding.decode import decode_image, fit_square
from oaml_core.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

INDEX = ("labels", "parts", "offsets", "sizes", "sources")
OPEN_PARTS = 256
"""Part files that a process keeps open."""


class PartFiles:
    """Reads records of `part-*.rec` by place; each process opens the files for itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process = os.getpid()
        self._files: OrderedDict[int, int] = OrderedDict()

    def image(self, part: int, offset: int, size: int) -> bytes:
        """Return the encoded image of one record.

        Raises:
            DataError: the part is missing, or no whole record stands there.
        """
        file = self._file(part)
        try:
            if not 0 <= offset <= offset + size <= os.fstat(file).st_size:
                raise DataError(f"the part ends before a record of {size} bytes does")
            return parse_record(os.pread(file, size, offset)).image
        except DataError as error:
            raise DataError(f"{self.path(part)} at byte {offset}: {error}; fetch the data set again.") from None

    def path(self, part: int) -> Path:
        """Return the path of the file of part number `part`."""
        return part_path(self.folder, part)

    def hold(self, places: Iterable[tuple[int, int, int]]) -> None:
        """Do nothing: a record of a file that is here needs no reading ahead."""

    def _file(self, part: int) -> int:
        if self._process != os.getpid():  # descriptors of a forked parent work, but are not ours to close
            self._process, self._files = os.getpid(), OrderedDict()
        file = self._files.get(part)
        if file is not None:
            self._files.move_to_end(part)
            return file
        try:
            file = os.open(self.path(part), os.O_RDONLY)
        except OSError as error:
            raise DataError(f"{self.path(part)}: {error.strerror}; fetch the data set again.") from None
        self._files[part] = file
        if len(self._files) > OPEN_PARTS:
            os.close(self._files.popitem(last=False)[1])
        return file

    def __del__(self) -> None:
        if self._process == os.getpid():
            for file in self._files.values():
                os.close(file)

    def __reduce__(self) -> tuple[Any, ...]:
        return PartFiles, (self.folder,)


class FaceDataset:
    """The training images of a prepared data set. Pickles as its path; index pages are shared by all processes.

    Args:
        folder: `train/` of a prepared data set.
        image_size: side of what `read` returns; a stored image of another size is resized.
        channel_order: how the stored images decode; what comes out is RGB.
        files: reads the records; None: all parts are in the folder.

    Raises:
        DataError: an index file is missing, or the files do not belong together.
    """

    def __init__(
        self,
        folder: Path,
        image_size: int = 112,
        channel_order: Literal["rgb", "bgr"] = "rgb",
        files: PartFiles | StreamedParts | None = None,
    ) -> None:
        self.folder = folder
        self.image_size = image_size
        self.channel_order = channel_order
        index = {name: open_array(folder / f"{name}.npy") for name in INDEX}
        if len({len(array) for array in index.values()}) != 1:
            raise DataError(f"{folder}: the index files have different lengths; fetch the data set again.")
        self.labels: NDArray[np.int64] = index["labels"]
        """int64 [N]: identity of each image, contiguous from 0."""
        self.sources: NDArray[np.int64] = index["sources"]
        """int64 [N]: number of each image in its source (record number, or place in the list of files)."""
        self._parts, self._offsets, self._sizes = index["parts"], index["offsets"], index["sizes"]
        points = folder / "landmarks.npy"
        self.landmarks: NDArray[np.float32] | None = open_array(points) if points.exists() else None
        """float32 [N, 5, 2] in pixels of what `read` returns (left eye, right eye, nose, mouth corners); NaN where
        an image has none; None if no image has any."""
        self._files = PartFiles(folder) if files is None else files

    @property
    def streamed(self) -> bool:
        """Return True if parts may be missing here, and their images then come from the store."""
        return isinstance(self._files, StreamedParts)

    @cached_property
    def num_identities(self) -> int:
        """Number of identities."""
        return int(self.labels.max()) + 1 if len(self.labels) else 0

    def encoded(self, index: int) -> bytes:
        """Return the image as it is stored, as its owner encoded it; raises DataError as `read` does."""
        return self._files.image(*self._place(index))

    def hold(self, images: Iterable[int]) -> None:
        """Read images at once that will be asked for one by one, where they are not here; raises StoreError where the
        store stays away.
        """
        self._files.hold(map(self._place, images))

    def read_batch(self, images: Sequence[int]) -> Tensor:
        """Return images as uint8 [B, 3, H, W], RGB; raises DataError and StoreError as `read` and `hold` do."""
        import torch

        self.hold(images)
        return torch.stack([self.read(image) for image in images])

    def parts_of(self, images: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of the parts that hold `images`, whatever their shape."""
        return np.asarray(self._parts[images], dtype=np.int64)

    def _place(self, index: int) -> tuple[int, int, int]:
        return int(self._parts[index]), int(self._offsets[index]), int(self._sizes[index])

    def read(self, index: int) -> Tensor:
        """Return image number `index` as uint8 [3, H, W], RGB.

        Raises:
            DataError: its record or image is damaged.
        """
        import torch  # whoever asks for the place of a data set alone does without the seconds that this takes

        try:
            image = fit_square(decode_image(self.encoded(index), self.channel_order), self.image_size)
        except DataError as error:
            raise DataError(f"training image {index} (number {self.sources[index]} of its source): {error}") from None
        # numpy turns [H·W, 3] round in two thirds of the time that torch takes for [H, W, 3].
        channels = np.ascontiguousarray(image.reshape(-1, 3).T)
        return torch.from_numpy(channels).view(3, self.image_size, self.image_size)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.read(index), int(self.labels[index])

    def __len__(self) -> int:
        return len(self.labels)

    def __reduce__(self) -> tuple[Any, ...]:
        return FaceDataset, (self.folder, self.image_size, self.channel_order, self._files)


def open_array(path: Path) -> NDArray[Any]:
    """Return a `.npy` file as a memory map; raises DataError if it cannot be opened."""
    return map_array(path, str(path), "Fetch the data set again.", DataError).view(np.ndarray)
