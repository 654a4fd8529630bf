"""Some images of a source, read without opening all of it: what a shard of a large preparation needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oaml_core.data.sources.base import Ints, SourceFile, SourceFolder, TrainingSource
from oaml_core.data.sources.image_folder import ImageFileSource
from oaml_core.data.sources.recordio import parse_record
from oaml_core.data.sources.recordio_source import RECORDS, RecordIOSource
from oaml_core.data.sources.webdataset import WebDatasetSource
from oaml_core.errors import DataError

WHOLE = -1
"""Offset of an image that is a file of its own."""
NOT_LISTED = SourceFile("", -1, "")


@dataclass(frozen=True)
class Places:
    """Places of the bytes of images in a source's folder."""

    files: list[str]
    """Names of files."""
    file: Ints
    """int64 [N]: number of each image's file."""
    offsets: Ints
    """int64 [N]: first byte; `WHOLE` for an image that is a file of its own."""
    sizes: Ints
    """int64 [N]: bytes; −1 for a file that the source's listing does not have."""
    framed: bool = False
    """True if each image is a RecordIO record."""
    stamps: list[str] | None = None
    """Stamps of the files in the source's listing, where each image is one; empty for a file that it does not have."""

    def as_listed(self) -> list[SourceFile]:
        """Return the files with their sizes and stamps; without, where images lie in files."""
        if self.stamps is None:
            return [SourceFile(name, 0, "") for name in self.files]
        told = zip(self.files, self.sizes.tolist(), self.stamps, strict=True)
        return [SourceFile(name, max(size, 0), stamp) for name, size, stamp in told]


def find_places(source: TrainingSource, numbers: Ints) -> Places | None:
    """Return where some images of a source lie; None where only the opened source can read them.

    Args:
        source: the opened source.
        numbers: of the images, int64 [N].
    """
    if isinstance(source, ImageFileSource):
        names = [source.names[number] for number in numbers.tolist()]
        there = source.folder.files
        listed = [there.get(name, NOT_LISTED) for name in names]
        sizes = np.array([file.size for file in listed], dtype=np.int64)
        stamps = [file.stamp for file in listed]
        return Places(names, np.arange(len(names)), np.full(len(names), WHOLE), sizes, stamps=stamps)
    if isinstance(source, RecordIOSource):
        index = source.index
        of_one = np.zeros(len(numbers), dtype=np.int64)
        return Places([RECORDS], of_one, index.offsets[numbers], index.sizes[numbers].astype(np.int64), framed=True)
    if isinstance(source, WebDatasetSource):
        file, offsets, sizes = source.places[numbers].T
        return Places(list(source.shards), file.copy(), offsets.copy(), sizes.copy())
    return None


class PickedImages(TrainingSource):
    """Images that lie at known places of a folder, numbered from 0 in the order of the places.

    Args:
        folder: only reading is asked of it, no listing.
        places: where the images lie.
        labels: identity number of each image, int64 [N].
    """

    kind = "picked"

    def __init__(self, folder: SourceFolder, places: Places, labels: Ints) -> None:
        self.folder, self.places, self.labels = folder, places, labels
        self.readers = folder.readers

    def read(self, index: int) -> bytes:
        places = self.places
        name, offset = places.files[int(places.file[index])], int(places.offsets[index])
        if offset == WHOLE:
            return self.folder.read(name)
        data = self.folder.read_range(name, offset, int(places.sizes[index]))
        return parse_record(data).image if places.framed else data

    def name(self, index: int) -> str:
        return f"image {index}"

    def identity_name(self, label: int) -> str:
        return str(label)

    def find(self, wanted: Sequence[str]) -> Ints:
        raise DataError(f"{self.folder.uri}: a part of a source finds no images by name.")
