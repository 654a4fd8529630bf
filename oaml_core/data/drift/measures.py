"""What is measured of a face to tell one night's data from another's; no model is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Points = NDArray[np.float32]
Floats = NDArray[np.float64]
Measured = dict[str, Floats]
"""Values of each measure, one per face; NaN where a face has none."""


def measure_faces(faces: Iterable[tuple[Image, Points | None]]) -> Measured:
    """Measure every face, image by image; a measure of unknown points is NaN.

    Args:
        faces: aligned image, uint8 [S, S, 3] RGB, and its points [5, 2] in pixels of it, or None.
    """
    found: dict[str, list[float]] = {name: [] for name in (*OF_IMAGE, *OF_POINTS)}
    for image, points in faces:
        grey = image.astype(np.float64).mean(axis=2)
        for name, of_image in OF_IMAGE.items():
            found[name].append(of_image(image, grey))
        known = points is not None and bool(np.isfinite(points).all())
        for name, of_points in OF_POINTS.items():
            found[name].append(of_points(np.asarray(points, dtype=np.float64)) if known else np.nan)
    return {name: np.array(values) for name, values in found.items()}


def _sharpness(_: Image, grey: Floats) -> float:
    """Standard deviation of the Laplacian, in grey levels: low for blurred and for enlarged faces."""
    inner = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * inner).std())


def _colour(image: Image, _: Floats) -> float:
    """Return mean distance between a pixel's largest and smallest channel; 0 for grey images."""
    return float((image.max(axis=2).astype(np.int16) - image.min(axis=2)).mean())


def _yaw(points: Floats) -> float:
    """Sideways shift of the nose from the middle of the eyes, as a share of their distance."""
    return float((points[2, 0] - points[:2, 0].mean()) / max(_eye_distance(points), 1e-6))


def _roll(points: Floats) -> float:
    """Turn of the eyes' line, in degrees."""
    across, down = points[1] - points[0]
    return float(np.degrees(np.arctan2(down, across)))


def _eye_distance(points: Floats) -> float:
    return float(np.hypot(*(points[1] - points[0])))


OF_IMAGE: dict[str, Callable[[Image, Floats], float]] = {
    "brightness": lambda _, grey: float(grey.mean()),
    "contrast": lambda _, grey: float(grey.std()),
    "sharpness": _sharpness,
    "colour": _colour,
}
OF_POINTS: dict[str, Callable[[Floats], float]] = {"yaw": _yaw, "roll": _roll, "eye distance": _eye_distance}
