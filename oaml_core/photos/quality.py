"""What can be said of a face in words: size, sharpness, light, pose, and what covers it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oaml_core.photos.detection import Floats, Photo

REGIONS = {
    "forehead": (0.20, 0.08, 0.80, 0.36),
    "eyes": (0.20, 0.36, 0.80, 0.56),
    "nose": (0.36, 0.52, 0.64, 0.72),
    "mouth": (0.28, 0.72, 0.72, 0.94),
}
"""Left, top, right, bottom of each region, as shares of the aligned crop."""
COVERED = 0.5
"""Mean visibility of a region below which it is called covered."""
SURROUNDINGS = 1 / 14 + 1e-9
"""Half the side of the square around a point whose visibility is the point's, as a share of the crop's side."""
SMALL_EYES = 12.0
"""Distance between the eyes in the photograph's pixels below which nothing is decided."""
BLURRED = 3.0
DARK, BRIGHT = 45.0, 215.0
TURNED = 0.35
"""Sideways shift of the nose, as a share of the distance between the eyes, from which on a face is called turned."""


@dataclass(frozen=True)
class Quality:
    """Measurements of one face."""

    eye_distance: float
    """Between the eyes, in pixels of the photograph."""
    sharpness: float
    """Standard deviation of the crop's Laplacian, in grey levels; low for blurred and for enlarged faces."""
    brightness: float
    """Median grey level of the crop, 0 to 255."""
    roll: float
    """Turn of the eyes' line in the photograph, in degrees; positive: clockwise."""
    yaw: float
    """Sideways shift of the nose from the middle of the eyes, as a share of their distance; 0: seen from the front."""

    @property
    def remarks(self) -> list[str]:
        """The faults of the face, in words; empty without any."""
        found = []
        if self.eye_distance < SMALL_EYES:
            found.append(f"very small ({self.eye_distance:.0f} pixels between the eyes)")
        if self.sharpness < BLURRED:
            found.append("blurred")
        if self.brightness < DARK:
            found.append("dark")
        elif self.brightness > BRIGHT:
            found.append("too bright")
        if abs(self.yaw) > TURNED:
            found.append("turned sideways")
        return found


def measure(crop: Photo, points: Floats) -> Quality:
    """Measure the quality of one face.

    Args:
        crop: uint8 [S, S, 3] RGB, aligned.
        points: [5, 2] in pixels of the photograph.
    """
    grey = np.asarray(Image.fromarray(crop).convert("L").resize((112, 112)), dtype=np.float64)
    inner = grey[24:104, 20:92]
    laplacian = 4 * inner[1:-1, 1:-1] - inner[:-2, 1:-1] - inner[2:, 1:-1] - inner[1:-1, :-2] - inner[1:-1, 2:]
    line = points[1] - points[0]
    distance = float(np.hypot(*line))
    along = line / max(distance, 1e-9)
    yaw = float((points[2] - points[:2].mean(0)) @ along) / max(distance, 1e-9)
    roll = float(np.degrees(np.arctan2(line[1], line[0])))
    return Quality(distance, float(laplacian.std()), float(np.median(inner)), roll, yaw)


def visible_regions(visibility: NDArray[np.float32]) -> dict[str, float]:
    """Return mean visibility of each region of `REGIONS`.

    Args:
        visibility: [h, w], in [0, 1], 1 = visible.
    """
    smooth = Image.fromarray(visibility.astype(np.float32)).resize((100, 100), Image.Resampling.BILINEAR)
    fine = np.asarray(smooth)
    found = {}
    for name, shares in REGIONS.items():
        left, top, right, bottom = (round(100 * share) for share in shares)
        found[name] = float(fine[top:bottom, left:right].mean())
    return found


def covered_regions(visibility: NDArray[np.float32]) -> list[str]:
    """Return names of the regions that the visibility map [h, w] takes for covered."""
    return [name for name, share in visible_regions(visibility).items() if share < COVERED]


def visible_points(visibility: NDArray[np.float32], points: Floats, size: int) -> Floats:
    """Return visibility [5] around points of the aligned crop: the mean of the places whose middles are nearer than
    half a place of a 7×7 map, along both axes.

    Args:
        visibility: [h, w], in [0, 1].
        points: [5, 2] in pixels of the crop.
        size: side of the crop in pixels.
    """
    near = []
    for places, at in zip(visibility.shape, np.clip(points[:, ::-1] / size, 0, 1).T, strict=True):
        far = np.abs((np.arange(places) + 0.5) / places - at[:, None])
        near.append((far <= max(SURROUNDINGS, 0.5 / places + 1e-9)).astype(np.float64))
    down, across = near
    found: Floats = ((down @ visibility) * across).sum(1) / (down.sum(1) * across.sum(1))
    return found
