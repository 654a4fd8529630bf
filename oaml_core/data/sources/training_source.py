"""What a training source must answer, in whichever form its images lie."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Landmarks = NDArray[np.float32]
CORES = os.cpu_count() or 1
COPY_AGAIN = "copy the source again"
NO_BYTES = "the row holds no image bytes"
"""Reason why a row of a table of images is set aside that has none."""
NOT_THERE = "is listed, and is not there"
"""Reason why an image is set aside that a list names and the source does not have."""
IS_THERE = "is there, under a name of its own"
"""Follows the file that such an image may mean: see `SourceFolder.spelled_otherwise`."""


class TrainingSource(ABC):
    """The training images of a source, numbered from 0, none of them read yet."""

    kind: str
    readers: int = CORES
    """Images that are worth reading at a time."""
    labels: Ints
    """int64 [N]: identity number of each image, as the source numbers them."""
    landmarks: Landmarks | None = None
    """float32 [N, 5, 2] in pixels of the encoded image, NaN where not known; None: no image has any."""
    used: Collection[str] = ()
    """Files of the source that it reads, or names in its notes."""
    notes: Sequence[str] = ()
    """What is odd about the source and does not stop its use."""
    damaged: Sequence[tuple[str, str]] = ()
    """(name, reason) of images that are known to be unreadable before any is read; they have no number."""
    mend: str = COPY_AGAIN
    """What to do about the entries in `damaged`."""

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def read(self, index: int) -> bytes:
        """Return the encoded image; raises DataError if it cannot be read. Fastest in rising order."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Return the image's name for messages and lists."""

    @abstractmethod
    def identity_name(self, label: int) -> str:
        """Return an identity's name."""

    @abstractmethod
    def find(self, wanted: Sequence[str]) -> Ints:
        """Return numbers of the images that the lines of a subset file name; raises DataError for one that is
        unknown.
        """

    def folder_order(self) -> Ints:
        """Return numbers of the images in the order of torchvision's `ImageFolder` over the same images.

        Published lists of positions count in it: identities by their names as text, then images by theirs.

        Raises:
            DataError: images that cannot be read take part in the order, and nothing says where they stand.
        """
        return np.arange(len(self))
