"""Pictures that stand in a benchmark's set more than once: the same one compared with itself measures nothing."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount, first_of
from oaml_core.folder_entries import shown

log = logging.getLogger(__name__)


class Different(NamedTuple):
    """Rows of a set's pictures, each list ascending."""

    rows: NDArray[np.int64]
    """The first of each picture, where it is of one person."""
    repeated: list[int]
    """Later ones of the same picture and person."""
    contested: list[int]
    """All of each picture that lies under several people: who it shows is not known."""


def different_rows(images: NDArray[np.uint8], people: NDArray[np.integer]) -> Different:
    """Tell pictures apart, to the last pixel.

    Args:
        images: [n, H, W, 3].
        people: [n], number of the person whom each is said to show.
    """
    same: dict[bytes, list[int]] = {}
    for row, image in enumerate(images):
        same.setdefault(hashlib.blake2b(image.tobytes(), digest_size=16).digest(), []).append(row)
    contested = [rows for rows in same.values() if len({int(people[row]) for row in rows}) > 1]
    of_several = {row for rows in contested for row in rows}
    known = [rows for rows in same.values() if rows[0] not in of_several]
    return Different(
        np.array(sorted(rows[0] for rows in known), dtype=np.int64),
        sorted(row for rows in known for row in rows[1:]),
        sorted(of_several),
    )


def tell_repeated(where: str, names: Sequence[str]) -> None:
    """Warn of pictures that count once."""
    if names:
        log.warning(
            "%s: %s left out, as the same picture is there under another name: %s. A picture compared with itself "
            "counts for no recogniser.",
            where,
            amount(len(names), "image is", "images are"),
            first_of(map(shown, names)),
        )


def tell_contested(where: str, names: Sequence[str]) -> None:
    """Warn of pictures that lie under several people."""
    if names:
        log.warning(
            "%s: %s left out, as the same picture lies under several people: %s. Remove it where it is wrong.",
            where,
            amount(len(names), "image is", "images are"),
            first_of(map(shown, names)),
        )
