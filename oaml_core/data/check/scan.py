"""Reads images once, on several threads, and says of each what it is like or why it cannot be used."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from oaml_core.data.check.duplicates import BrightnessSteps, DuplicateFinder
from oaml_core.data.check.report import SetAside
from oaml_core.data.sources.base import TrainingSource
from oaml_core.decoding.decode import decode_image, fit_square
from oaml_core.errors import DataError

T = TypeVar("T")
R = TypeVar("R")
BATCH = 16
"""Images that a thread takes at a time."""
AHEAD = 2
"""Batches that each thread may be ahead of the one that is used next: bounds the memory."""


class Looked(NamedTuple):
    """A usable image, decoded and measured."""

    data: bytes
    """Encoded image."""
    sha256: bytes
    """Digest of `data`, 32 bytes."""
    side: int
    """Pixels of each side, before it is resized."""
    total: NDArray[np.int64]
    """int64 [3]: sums of R, G, B, 0 to 255, over the pixels of the resized image; sums of whole numbers are the same
    in any order."""
    low: int
    high: int
    """Smallest and largest value of a pixel, 0 to 255."""
    perceptual: bytes
    """Hash that finds duplicates; empty where there is nothing to compare with."""


class Scanner:
    """Looks at encoded images.

    Args:
        image_size: side that the images are brought to.
        channel_order: how they decode.
        finder: gives the perceptual hashes.
    """

    def __init__(self, image_size: int, channel_order: Literal["rgb", "bgr"], finder: DuplicateFinder) -> None:
        self.image_size = image_size
        self.channel_order = channel_order
        self.finder = finder
        self.steps = BrightnessSteps(image_size)

    def look(self, data: bytes) -> Looked:
        """Decode and measure one image; raises DataError if it is damaged or not square."""
        decoded = decode_image(data, self.channel_order)
        image = fit_square(decoded, self.image_size)
        perceptual = self.finder.hash(self.steps(image)) if self.finder.wants_hashes else b""
        columns = np.add.reduce(image.reshape(self.image_size, -1), axis=0, dtype=np.uint32)
        total = columns.reshape(-1, 3).sum(axis=0, dtype=np.int64)
        digest = hashlib.sha256(data).digest()
        return Looked(data, digest, decoded.shape[0], total, int(image.min()), int(image.max()), perceptual)

    def training(self, source: TrainingSource, numbers: Iterable[int]) -> Iterator[tuple[int, Looked | SetAside]]:
        """Yield each image by its number, in the given order."""

        def read(number: int) -> tuple[int, Looked | SetAside]:
            try:
                return number, self.look(source.read(number))
            except DataError as error:
                return number, SetAside(source.name(number), str(error))

        yield from in_order(read, numbers, source.readers)


def in_order(work: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Yield `work` of all items in their order, computed on several threads.

    Reading, decoding and hashing release the interpreter's lock.
    """
    waiting: deque[Future[list[R]]] = deque()
    left = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        while batch := list(islice(left, BATCH)):
            waiting.append(pool.submit(lambda batch: [work(item) for item in batch], batch))
            if len(waiting) > threads * AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
