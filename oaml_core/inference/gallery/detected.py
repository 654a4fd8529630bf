"""How an enrolled face was found, as fields of the gallery: box, the detector's score, and measured quality."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from oaml_core.errors import DataError
from oaml_core.photos.photo_face import PhotoFace
from oaml_core.photos.quality import Quality

COLUMNS = (
    "score",
    *("box_left", "box_top", "box_right", "box_bottom"),
    *("eye_distance", "sharpness", "brightness", "roll", "yaw"),
)
"""Columns of the table `detected` after `face`."""
TABLE = f"""
CREATE TABLE detected (
    face INTEGER PRIMARY KEY REFERENCES faces (id) ON DELETE CASCADE,
    {", ".join(f"{name} REAL" for name in COLUMNS)}
);
"""
"""A table of its own: a row of `faces` may hold an image, behind which columns are slow to read."""


class Detected(NamedTuple):
    """How a face was found in its photograph."""

    score: float
    """Detector's, in [0, 1]; 1 for faces that were said to be aligned."""
    box: tuple[float, float, float, float] | None
    """Left, top, right, bottom in pixels of the photograph; None if the detector did not look or saw none."""
    quality: Quality | None
    """Measurements of the face; None without points."""

    @classmethod
    def of(cls, face: PhotoFace) -> Detected:
        """Return how a face of a photograph was found."""
        box = None
        if face.box is not None:
            left, top, right, bottom = (round(float(value), 1) for value in face.box)
            box = left, top, right, bottom
        return cls(face.score, box, face.quality)

    @classmethod
    def of_row(cls, row: Sequence[Any], key: int) -> Detected | None:
        """Return what the columns of a face hold; None if nothing was noted.

        Raises:
            DataError: a value is no number, or some of those that belong together are missing.
        """
        score, box, quality = row[0], tuple(row[1:5]), tuple(row[5:])
        there = [value for value in row if value is not None]
        whole = all((None in part) == (part == (None,) * len(part)) for part in (box, quality))
        numbers = all(isinstance(value, float) and math.isfinite(value) for value in there)
        if not whole or not numbers or (there and score is None):
            raise DataError(f"Box or quality of face {key} is damaged in the gallery. Enrol the face again.")
        if score is None:
            return None
        return cls(score, None if None in box else box, None if None in quality else Quality(*quality))

    def row(self) -> tuple[float | None, ...]:
        """Return the values of `COLUMNS`."""
        quality = self.quality
        measured: tuple[float | None, ...] = (None,) * 5
        if quality is not None:
            measured = quality.eye_distance, quality.sharpness, quality.brightness, quality.roll, quality.yaw
        return (self.score, *(self.box or (None,) * 4), *measured)

    def __str__(self) -> str:
        """Return box and measurements, for instance `box 212, 96 to 388, 323; 83 pixels between the eyes, …`."""
        said = []
        if self.box is not None:
            left, top, right, bottom = self.box
            said.append(f"box {left:.0f}, {top:.0f} to {right:.0f}, {bottom:.0f}")
        if self.quality is not None:
            one = self.quality
            said.append(
                f"{one.eye_distance:.0f} pixels between the eyes, sharpness {one.sharpness:.1f}, brightness "
                f"{one.brightness:.0f}, roll {one.roll:.0f}°, yaw {one.yaw:.2f}"
            )
        return "; ".join(said)
