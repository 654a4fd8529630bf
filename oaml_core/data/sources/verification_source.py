"""A verification set as its owner has it, opened but not decoded: what every reader of such sets returns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from oaml_core.errors import DataError
from oaml_core.folder_entries import shown

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
TRUTH = {"1": True, "0": False, "1.0": True, "0.0": False, "true": True, "false": False}
"""How lists say in lower case whether a pair shows one person."""


@dataclass(frozen=True)
class VerificationSource:
    """A verification set as its owner has it: encoded images, read one at a time."""

    name: str
    where: str
    """Full name of its file, for messages."""
    issame: Bools
    """bool [N]"""
    landmarks: Callable[[], Floats | None]
    """float32 [2N, 5, 2] in pixels of the encoded images, or None."""
    read_images: Callable[[], Iterator[bytes]]
    """The 2N encoded images in order, one at a time."""
    identities: NDArray[np.int64] | None = None
    """int64 [2N]: number of the person whom each image shows, or None: not known."""
    files: Sequence[str] = ()
    """Names of the 2N images where they are files of the source; empty where they lie in a file of their own."""
    people: Mapping[int, str] = field(default_factory=dict)
    """Names of the people by the numbers in `identities`, where the source tells them."""
    channel_order: Literal["rgb", "bgr"] | None = None
    """Order that the images decode to, where their format states it; None: that of `data.channel_order`."""
    used: Collection[str] = ()
    """Files of the source that it is read from."""
    notes: tuple[str, ...] = ()
    """How the pairs came about, where the source does not list them itself."""
    warnings: tuple[str, ...] = ()
    """Pairs of the list that do not count, and why."""

    def unusable(self, number: int, error: Exception) -> DataError:
        """Return the error of an image of the set that cannot be used; without it published figures do not compare.

        Args:
            number: of the image, from 0.
            error: why it cannot be used.
        """
        file = f" ({shown(self.files[number])})" if self.files else ""
        return DataError(
            f"{self.where}: image {number}{file} (pair {number // 2}) is unusable: {error}. Copy the file again, or "
            "remove it to go on without this set."
        )

    def __len__(self) -> int:
        return len(self.issame)
