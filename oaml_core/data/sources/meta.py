"""Names and landmarks of training images, from `train_meta.json` beside them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from oaml_core.data.sources.base import Landmarks, SourceFolder
from oaml_core.errors import DataError
from oaml_core.structured_text import parse_json

META = "train_meta.json"


def read_meta(folder: SourceFolder) -> dict[str, Any]:
    """Return the content of `train_meta.json`, empty where there is none; raises DataError if it is no JSON object."""
    if META not in folder:
        return {}
    return parse_json(folder.read(META), folder.where(META), "Write it again, or remove it.", DataError)


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
        try:
            points[row] = np.array(entry, dtype=np.float32).reshape(5, 2)
        except (ValueError, TypeError):
            raise DataError(f"{folder.where(META)}: {image!r} needs five points [x, y].") from None
    return points
