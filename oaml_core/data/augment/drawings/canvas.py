"""A transparent sheet in the coordinates of an occluder's box, and closed curves through random points."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

Floats = NDArray[Any]
"""float32 throughout; formulas with Python numbers keep it."""

FINER = 3
"""Pixels of a shape's raster per pixel of the sheet and axis, for smooth edges."""


class Canvas:
    """Layers of colour over a regular grid of box coordinates.

    Args:
        u: float32 [w], evenly spaced places from left to right.
        v: float32 [h], from top to bottom.
    """

    def __init__(self, u: Floats, v: Floats) -> None:
        self.u, self.v = u[None], v[:, None]
        """[1, w] and [h, 1]."""
        self.shape = len(v), len(u)
        self.opacity = np.zeros(self.shape, np.float32)
        """[h, w] in [0, 1]."""
        self.colour = np.zeros((*self.shape, 3), np.float32)
        """[h, w, 3] in [0, 1], multiplied by the opacity."""
        self._step = float(u[1] - u[0]), float(v[1] - v[0])
        self._origin = float(u[0]) - self._step[0] / 2, float(v[0]) - self._step[1] / 2

    def inside(self, outline: Floats) -> Floats:
        """Return share [h, w] of each pixel that lies inside a polygon [n, 2] of (u, v)."""
        return self._drawn(outline, 0.0)

    def along(self, line: Floats, width: float) -> Floats:
        """Return share [h, w] of each pixel that a line [n, 2] of so many units' width covers."""
        return self._drawn(line, max(1.0, round(width * FINER / self._step[0])))

    def lay(self, opacity: Floats, colour: ArrayLike) -> None:
        """Put a layer on top: `opacity` [h, w], `colour` [3] or [h, w, 3], both in [0, 1]."""
        over = opacity[..., None]
        self.colour = np.clip(np.asarray(colour, np.float32), 0, 1) * over + self.colour * (1 - over)
        self.opacity = opacity + self.opacity * (1 - opacity)

    def cut(self, share: Floats) -> None:
        """Take away so much [h, w] of what lies there."""
        self.opacity = self.opacity * (1 - share)
        self.colour = self.colour * (1 - share)[..., None]

    def shade(self, factor: Floats, where: Floats | float = 1.0) -> None:
        """Darken or brighten by a factor [h, w], in part where `where` is below 1."""
        self.colour = np.minimum(self.colour * (1 + (factor - 1) * where)[..., None], self.opacity[..., None])

    def clouds(self, random: np.random.Generator, rows: int, columns: int) -> Floats:
        """Smooth noise [h, w] of about unit deviation with so many bumps down and across."""
        coarse = random.standard_normal((rows + 3, columns + 3)).astype(np.float32)
        size = self.shape[1], self.shape[0]
        return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), dtype=np.float32)

    def _drawn(self, points: Floats, width: float) -> Floats:
        """Return a line of so many fine pixels' width, or at width 0 a filled polygon; drawn where it reaches."""
        result = np.zeros(self.shape, np.float32)
        places = (np.asarray(points, np.float64) - self._origin) / self._step
        beside = width / FINER + 1
        left, top = np.maximum(np.floor(places.min(0) - beside), 0).astype(int).tolist()
        right, bottom = np.minimum(np.ceil(places.max(0) + beside), self.shape[::-1]).astype(int).tolist()
        if left >= right or top >= bottom:
            return result
        sheet = Image.new("L", ((right - left) * FINER, (bottom - top) * FINER))
        fine = [(float(x), float(y)) for x, y in (places - (left, top)) * FINER - 0.5]
        if width:
            ImageDraw.Draw(sheet).line(fine, fill=255, width=int(width), joint="curve")
        else:
            ImageDraw.Draw(sheet).polygon(fine, fill=255)
        result[top:bottom, left:right] = np.asarray(sheet.reduce(FINER), dtype=np.float32) / np.float32(255)
        return result


def curve(points: ArrayLike, *, closed: bool = True, steps: int = 8) -> Floats:
    """Return points [n × steps, 2] of a Catmull-Rom spline through points [n, 2]."""
    knots = np.asarray(points, np.float32)
    before = np.roll(knots, 1, 0) if closed else np.concatenate([knots[:1], knots[:-1]])
    after = np.roll(knots, -1, 0) if closed else np.concatenate([knots[1:], knots[-1:]])
    later = np.roll(knots, -2, 0) if closed else np.concatenate([knots[2:], knots[-1:], knots[-1:]])
    t = (np.arange(steps, dtype=np.float32) / steps)[None, :, None]
    a, b, c, d = (side[:, None] for side in (before, knots, after, later))
    spline = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    flat: Floats = spline.reshape(-1, 2)
    return flat if closed else np.concatenate([flat[: -steps + 1], knots[-1:]])


def wobbled(points: ArrayLike, random: np.random.Generator, amount: float) -> Floats:
    """Return points [n, 2], each moved by a normal deviation of `amount`, at most twice that."""
    given = np.asarray(points, np.float32)
    moves: Floats = np.clip(random.standard_normal(given.shape), -2, 2).astype(np.float32) * np.float32(amount)
    return given + moves


def mirrored(half: ArrayLike, random: np.random.Generator, amount: float) -> Floats:
    """Return a closed outline from its right half, top to bottom with both ends on the axis; both sides wobble
    apart.
    """
    right = np.asarray(half, np.float32)
    left = right[-2:0:-1] * np.array([-1, 1], np.float32)
    return curve(wobbled(np.concatenate([right, left]), random, amount))
