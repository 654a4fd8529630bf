"""Count the images that have come since another data set was made.

Two data sets share the parts that they have in common, and each record begins with half of its image's SHA-256: only
parts that one of them has alone are read.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from oaml_core.data.prepared.fetched_files import is_part
from oaml_core.data.prepared.manifest import Manifest
from oaml_core.data.sources.recordio import join_frames, parse_payload
from oaml_core.errors import DataError
from oaml_core.store import Store


def count_new_images(store: Store, known: Manifest, tonight: Manifest, enough: int) -> int:
    """Return how many training images of `tonight` are not in `known`; counting stops at `enough`.

    Args:
        store: that holds both data sets.
        known: manifest of the earlier data set.
        tonight: manifest of the later one.
        enough: number at which more do not matter.

    Raises:
        StoreError: a part cannot be read. DataError: a part is damaged.
    """
    before, now = _parts(known), _parts(tonight)
    had = np.concatenate([np.empty(0, np.uint64), *(_images(store, key) for key in sorted(before - now))])
    found = 0
    for key in sorted(now - before):
        found += int((~np.isin(_images(store, key), had)).sum())
        if found >= enough:
            break
    return found


def _parts(manifest: Manifest) -> set[str]:
    """Return the keys of the parts that training images lie in."""
    return {file.key for file in manifest.files if is_part(file)}


def _images(store: Store, key: str) -> NDArray[np.uint64]:
    """Return the first 64 bits of the SHA-256 of each image in a part."""
    part, offset, found = memoryview(store.read_bytes(key)), 0, []
    try:
        while offset < len(part):
            payload, offset = join_frames(part, offset)
            found.append(parse_payload(payload).id)
    except DataError as error:
        raise DataError(f"{store.url(key)} is damaged: {error}. `oaml prepare --repair` makes it again.") from None
    return np.array(found, dtype=np.uint64)
