"""Names and landmarks of training images, from `train_meta.json` beside them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from oaml_core.amounts import amount
from oaml_core.data.sources.base import Landmarks, SourceFolder
from oaml_core.errors import DataError
from oaml_core.folder_entries import shown
from oaml_core.structured_text import check_types, parse_json

META = "train_meta.json"


def read_meta(folder: SourceFolder) -> dict[str, Any]:
    """Return the content of `train_meta.json`, empty where there is none; raises DataError if it is no JSON object."""
    if META not in folder:
        return {}
    where, remedy = folder.where(META), "Write it again, or remove it."
    found = parse_json(folder.read(META), where, remedy, DataError)
    check_types(found, {"identities": list, "landmarks_by_record": dict, "landmarks": dict}, where, remedy, DataError)
    return found


def landmarks_of(folder: SourceFolder, known: dict[str, Any], images: Iterable[str], count: int) -> Landmarks | None:
    """Return float32 [count, 5, 2] with the points of each image that is known, NaN for others; None if none is known.

    Raises:
        DataError: an entry is not five points [x, y].
    """
    if not known:
        return None
    points = np.full((count, 5, 2), np.nan, dtype=np.float32)
    for row, image in enumerate(images):
        entry = known.get(image)
        if entry is None:
            continue
        points[row] = five_points(entry, f"{folder.where(META)}: {image!r}")
    return points


def unknown_images(folder: SourceFolder, known: dict[str, Any], images: Iterable[str]) -> list[str]:
    """Return a note on entries that are of no training image; empty if there are none.

    Args:
        folder: of the source.
        known: landmarks by image.
        images: names of all training images.
    """
    unknown = sorted(known.keys() - set(images)) if known else []
    if not unknown:
        return []
    entries = amount(len(unknown), "entry of its landmarks is", "entries of its landmarks are")
    return [
        f"{META}: {entries} of no training image; the first is {shown(unknown[0])!r}. Name images as `oaml check` "
        "does, relative to the source"
    ]


def five_points(value: object, what: str) -> Landmarks:
    """Return float32 [5, 2] from a JSON value.

    Args:
        value: five points [x, y].
        what: file and image, for messages.

    Raises:
        DataError: it is something else.
    """
    try:
        return np.array(value, dtype=np.float32).reshape(5, 2)
    except (ValueError, TypeError, OverflowError):
        raise DataError(f"{what} needs five points [x, y].") from None
