"""Images that were forgotten and must not come back: digests in the store, whatever the source still holds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from oaml_core.store import Store

LISTS = "forgotten/lists"
"""Folder in which a store keeps one list of digests per request."""


@dataclass(frozen=True)
class ForgottenImages:
    """Digests of images that no data set may hold."""

    files: frozenset[str] = frozenset()
    """SHA-256 of images as they were encoded, hexadecimal."""
    pixels: frozenset[str] = frozenset()
    """SHA-256 of the pixels of verification images as data sets hold them."""

    @property
    def digest(self) -> str:
        """Name of this list by its content."""
        return hashlib.sha256("\n".join([*sorted(self.files), "", *sorted(self.pixels)]).encode()).hexdigest()

    def __bool__(self) -> bool:
        return bool(self.files or self.pixels)

    def shows(self, encoded: bytes, image: NDArray[np.uint8]) -> bool:
        """Return True if a verification image is one of them; `image` is it as the data set holds it."""
        return self.has(hashlib.sha256(encoded).hexdigest()) or digest_of_pixels(image) in self.pixels

    def has(self, sha256: str) -> bool:
        """Return True if an encoded image with this SHA-256 is one of them."""
        return sha256 in self.files


def digest_of_pixels(image: NDArray[np.uint8]) -> str:
    """Return SHA-256 of the pixels of an RGB image [H, W, 3], hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()


def forgotten_images(store: Store) -> ForgottenImages:
    """Return all images that were forgotten in `store`.

    Raises:
        StoreError: a list cannot be read, so that nobody can say which images must stay out.
    """
    remedy = "Bring it back from a copy of the store: without it forgotten images could return."
    keys = [info.key for info in store.list(f"{LISTS}/")] if store.is_made() else []
    lists = [store.read_json(key, ("files", "pixels"), remedy) for key in keys]
    return ForgottenImages(
        frozenset(digest for one in lists for digest in one["files"]),
        frozenset(digest for one in lists for digest in one["pixels"]),
    )
