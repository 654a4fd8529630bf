"""Large photographs and small faces: one detector over the tiles of an image pyramid.

A level shows the photograph at half the scale of the next. Tiles of a level overlap by `OVERLAP` pixels, so a face of
up to that size lies whole in one of them; a larger face does so at a coarser level. Memory is the photograph, one
scaled copy of it, and one pass of the detector.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from oaml_core.photos.detection import Detections, Detector, Photo, keep_best

OVERLAP = 160
"""Pixels that neighbouring tiles share."""
SEEN = 20
"""Height in pixels of the smallest face that the detector is trusted to see in a tile: 16 for most, more for veiled."""
MARGIN = 0.5
"""Padding around a picture, as a share of its side: a face that fills its picture is found with it alone."""


def find_faces(
    photo: Photo, detector: Detector, smallest: float = 20.0, enough: float | None = None, sure: float = 0.0
) -> Detections:
    """Find the faces of a photograph of any size.

    Args:
        photo: uint8 [H, W, 3] RGB.
        detector: looks at one tile at a time.
        smallest: height in pixels of the smallest face to look for.
        enough: stop at the first level that shows a face at least this many pixels high; None: look at all levels.
        sure: score in [0, 1] that the face of that height must have.

    Returns:
        Faces in the photograph's pixels, surest first, each face once.
    """
    levels: list[Detections] = []
    for scale in scales(photo.shape[:2], detector.tile, smallest):
        faces = _level(photo, detector, scale)
        levels.append(faces)
        heights = faces.boxes[:, 3] - faces.boxes[:, 1]
        if enough is not None and np.any((heights >= enough) & (faces.scores >= sure)):
            break
    return keep_best(Detections.joined(levels))


def scales(shape: tuple[int, ...], tile: int, smallest: float) -> list[float]:
    """Return the scales of the pyramid, coarsest first: the first shows the photograph, padded, in one tile.

    Args:
        shape: height and width of the photograph in pixels.
        tile: side of a tile in pixels.
        smallest: height in pixels of the smallest face to look for.
    """
    first = min(1.0, tile / (max(shape) * (1 + 2 * MARGIN)))
    finest = min(1.0, max(first, SEEN / smallest))
    found = [first]
    while found[-1] < finest:
        found.append(min(2 * found[-1], finest))
    return found


def tiles(length: int, tile: int) -> list[int]:
    """Return where tiles start along a side of `length` pixels: evenly, at least `OVERLAP` pixels in common."""
    if length <= tile:
        return [0]
    count = 1 + -(-(length - tile) // (tile - OVERLAP))
    return [int(start) for start in np.linspace(0, length - tile, count).round()]


def _level(photo: Photo, detector: Detector, scale: float) -> Detections:
    height, width = (max(1, round(side * scale)) for side in photo.shape[:2])
    level = photo
    if (height, width) != photo.shape[:2]:
        # Four pixels for one are enough to average; copying all of a large photograph takes longer than to search it.
        step = max(1, int(1 / (4 * scale)))
        picture = Image.fromarray(np.ascontiguousarray(photo[::step, ::step]))
        level = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0))
    ratio = photo.shape[1] / width
    return Detections.joined(list(_tiles(level, detector))).moved(ratio, 0, 0)


def _tiles(level: Photo, detector: Detector) -> Iterator[Detections]:
    tile, (height, width) = detector.tile, level.shape[:2]
    if max(height, width) * (1 + 2 * MARGIN) <= tile + 2:
        yield _padded(level, detector)
        return
    for top in tiles(height, tile):
        for left in tiles(width, tile):
            edges = (left, top, left + tile, top + tile)
            found = detector.detect(level[top : top + tile, left : left + tile])
            yield _whole(found.moved(1.0, left, top), edges, (width, height))


def _padded(level: Photo, detector: Detector) -> Detections:
    """Look at a level that fits a tile with its padding, which is the mean colour of the picture's border."""
    tile, (height, width) = detector.tile, level.shape[:2]
    border = np.concatenate([level[0], level[-1], level[:, 0], level[:, -1]])
    canvas = np.empty((tile, tile, 3), np.uint8)
    canvas[:] = border.mean(axis=0).round().astype(np.uint8)
    top, left = (tile - height) // 2, (tile - width) // 2
    canvas[top : top + height, left : left + width] = level
    return detector.detect(canvas).moved(1.0, -left, -top)


def _whole(found: Detections, tile: tuple[int, int, int, int], size: tuple[int, int]) -> Detections:
    """Drop boxes that a tile's edge cuts, unless it is the photograph's edge too: another tile shows them whole."""
    left, top, right, bottom = tile
    low = np.array([left if left > 0 else -np.inf, top if top > 0 else -np.inf])
    high = np.array([right if right < size[0] else np.inf, bottom if bottom < size[1] else np.inf])
    inside = np.all(found.boxes[:, :2] > low, axis=1) & np.all(found.boxes[:, 2:] < high, axis=1)
    return found.rows(inside)
