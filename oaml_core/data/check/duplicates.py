"""Images that are in the training set and in a verification set too, found among millions without comparing all pairs.

Equal files are found by SHA-256. Images that look the same (recompressed, resized, a little brighter) are found by
a perceptual hash of 128 bits: the face is averaged over a coarse grid, and each bit says whether the step from one
cell to its right-hand or lower neighbour is larger than it is in the median verification image. Aligned faces are
alike, so that a fixed threshold of 0 would give most bits the same value everywhere; the median makes each bit
halve the set.

Two hashes that differ in at most 7 of 128 bits agree in one of 8 bands of 16 bits at least. Training hashes are
therefore only compared with the verification hashes that share a band with them. Memory: 24 bytes per training image
and 8 lists of verification images; the time for 5.8 million × 14,000 images is in benchmarks/RESULTS.md.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Steps = NDArray[np.float32]
BITS, BANDS = 128, 8
LARGEST_DISTANCE = BANDS - 1
CANDIDATES = 1 << 22
"""Pairs of hashes compared at a time: 4 million take about 200 MB."""


def _averages(cells: int, pixels: int) -> NDArray[np.float32]:
    """Return float32 [cells, pixels]: mean over each of `cells` equal stretches; a pixel on a border counts in part."""
    edges = np.linspace(0, pixels, cells + 1)
    low, high = edges[:-1, None], edges[1:, None]
    place = np.arange(pixels)[None]
    overlap = np.clip(np.minimum(high, place + 1) - np.maximum(low, place), 0, None)
    result: NDArray[np.float32] = (overlap / (pixels / cells)).astype(np.float32)
    return result


class BrightnessSteps:
    """Steps of brightness between neighbouring cells of a coarse grid, for images of one size."""

    def __init__(self, image_size: int) -> None:
        self._eight = _averages(8, image_size)
        self._nine = _averages(9, image_size)

    def __call__(self, image: NDArray[np.uint8]) -> Steps:
        """Return uint8 [H, W, 3] → float32 [128]: 8 × 8 steps to the right, then 8 × 8 downwards, of the green
        channel.
        """
        green = image[..., 1].astype(np.float32)
        across = np.diff(self._eight @ green @ self._nine.T, axis=1)
        down = np.diff(self._nine @ green @ self._eight.T, axis=0)
        return np.concatenate([across.ravel(), down.ravel()])


@dataclass
class DuplicateFinder:
    """Collects verification images first, then training images, then says which are the same."""

    _steps: list[Steps] = field(default_factory=list)
    _shown: list[tuple[str, int]] = field(default_factory=list)
    _shown_digests: array[int] = field(default_factory=lambda: array("Q"))
    _digests: array[int] = field(default_factory=lambda: array("Q"))
    _hashes: bytearray = field(default_factory=bytearray)
    _thresholds: Steps | None = None
    _seen: set[tuple[str, bytes]] = field(default_factory=set)

    def add_verification(self, name: str, number: int, sha256: bytes, steps: Steps) -> None:
        """An image of the verification set `name`; one that occurs in several of its pairs counts once."""
        if (name, sha256) in self._seen:
            return
        self._seen.add((name, sha256))
        self._steps.append(steps.astype(np.float16))
        self._shown.append((name, number))
        self._shown_digests.append(int.from_bytes(sha256[:8], "little"))

    def close_verification(self) -> None:
        """End the verification images and fix the thresholds of the hashes; training images follow."""
        if self._steps:
            self._thresholds = np.median(np.stack(self._steps).astype(np.float32), axis=0)

    @property
    def thresholds(self) -> Steps | None:
        """Median step of each bit over the verification images, float32 [128]; None where there is none."""
        return self._thresholds

    def hash_by(self, thresholds: Steps | None) -> None:
        """Give hashes by the thresholds that another finder has found; None: give none."""
        self._thresholds = thresholds

    def hash(self, steps: Steps) -> bytes:
        """Return the 16 bytes of a perceptual hash; empty where there is no verification set to compare with."""
        return b"" if self._thresholds is None else np.packbits(steps > self._thresholds).tobytes()

    @property
    def wants_hashes(self) -> bool:
        """Return True if there is a verification image to compare training images with."""
        return self._thresholds is not None

    def add_training(self, sha256: bytes, perceptual: bytes) -> None:
        """The next training image; `perceptual` as `hash` gave it."""
        self._digests.append(int.from_bytes(sha256[:8], "little"))
        self._hashes += perceptual

    def add_many(self, digests: NDArray[np.uint8], perceptual: NDArray[np.uint8]) -> None:
        """Add the next training images: SHA-256 [N, 32], and hashes as `hash` gave them, [N, 16] or [N, 0]."""
        self._digests.frombytes(np.ascontiguousarray(digests[:, :8]).view("<u8").astype(np.uint64).tobytes())
        self._hashes += perceptual.tobytes()

    def across(self) -> list[tuple[int, str, int, int | None]]:
        """Return training images that equal a verification image: (training image, set, image in the set, distance).

        The distance counts the bits in which the perceptual hashes differ; it is None for equal files.
        """
        if self._thresholds is None or not self._digests:
            return []
        shown = np.stack([np.packbits(row > self._thresholds) for row in self._steps])
        exact = _equal(np.frombuffer(self._digests, np.uint64), np.frombuffer(self._shown_digests, np.uint64))
        found: dict[tuple[int, int], int | None] = {}
        for row, other, distance in near(np.frombuffer(self._hashes, np.uint8).reshape(-1, BITS // 8), shown):
            found[row, other] = distance
        for row, other in exact:
            found[row, other] = None
        return [(row, *self._shown[other], distance) for (row, other), distance in sorted(found.items())]

    def within_training(self) -> list[tuple[int, int]]:
        """Return pairs (first, later) of training images that are the same file."""
        digests = np.frombuffer(self._digests, np.uint64)
        order = np.argsort(digests, kind="stable")
        same = np.flatnonzero(digests[order][1:] == digests[order][:-1])
        first: dict[int, int] = {}
        for place in same.tolist():
            digest = int(digests[order[place]])
            first.setdefault(digest, int(order[place]))
        return [(first[int(digests[order[place]])], int(order[place + 1])) for place in same.tolist()]


def _equal(digests: NDArray[np.uint64], shown: NDArray[np.uint64]) -> list[tuple[int, int]]:
    rows = np.flatnonzero(np.isin(digests, shown))
    return [(int(row), int(other)) for row in rows for other in np.flatnonzero(shown == digests[row])]


def near(hashes: NDArray[np.uint8], shown: NDArray[np.uint8]) -> list[tuple[int, int, int]]:
    """Return all (row of `hashes`, row of `shown`, distance) with a Hamming distance of at most 7 bits.

    Args:
        hashes, shown: uint8 [N, 16] and [M, 16].
    """
    left, right = np.ascontiguousarray(hashes).view(np.uint64), np.ascontiguousarray(shown).view(np.uint64)
    left_bands, right_bands = hashes.copy().view(np.uint16), np.ascontiguousarray(shown).view(np.uint16)
    found: set[tuple[int, int, int]] = set()
    for band in range(BANDS):
        order = np.argsort(right_bands[:, band], kind="stable")
        count = np.bincount(right_bands[:, band], minlength=1 << 16)
        start = np.cumsum(count) - count
        values = left_bands[:, band]
        ends = np.cumsum(count[values])
        begin = 0
        while begin < len(values):
            done = int(ends[begin - 1]) if begin else 0
            end = max(begin + 1, int(np.searchsorted(ends, done + CANDIDATES, side="right")))
            many = count[values[begin:end]]
            rows = np.repeat(np.arange(begin, end), many)
            nth = np.arange(len(rows)) - np.repeat(np.cumsum(many) - many, many)
            others = order[np.repeat(start[values[begin:end]], many) + nth]
            distance = np.bitwise_count(left[rows] ^ right[others]).sum(axis=1)
            close = distance <= LARGEST_DISTANCE
            found.update(zip(rows[close].tolist(), others[close].tolist(), distance[close].tolist(), strict=True))
            begin = end
    return sorted(found)
