"""Our own drawings of what covers faces: shapes and colours in the unit square, by formula.

Coordinates u (right) and v (down) span [-1, 1] over the box that the occluder is pasted into. Each drawing comes in
styles, shape and colour: some for training, others for testing, so that a model is never tested on a drawing that it
was trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oaml_core.config import Occluder

Floats = NDArray[Any]
"""float32 throughout; formulas with Python numbers keep it."""
Split = Literal["train", "test"]

EDGE = 0.03
"""Width of an antialiased edge, in units of the box."""


class Style(NamedTuple):
    """One variant of a drawing."""

    colour: tuple[float, float, float]
    """RGB in [0, 1]."""
    shape: float
    """In [0, 1]: what it changes is the drawing's affair."""
    pattern: Literal["plain", "pleats", "stripes", "check", "dots"] = "plain"


class Artwork(NamedTuple):
    """A drawing and its styles."""

    outline: Callable[[Floats, Floats, float], Floats]
    """(u, v, shape) to a distance from the outline, negative inside, in units of the box."""
    train: tuple[Style, ...]
    test: tuple[Style, ...]

    def styles(self, split: Split) -> tuple[Style, ...]:
        return self.train if split == "train" else self.test


def _surgical(u: Floats, v: Floats, shape: float) -> Floats:
    """A rectangle with rounded corners from the nose to below the chin, and loops to the ears."""
    body = _rounded(u, v - 0.45, 0.60 + 0.08 * shape, 0.52, 0.18)
    upper = np.abs(v + 0.02 + 0.20 * (np.abs(u) - 0.6)) - 0.02
    lower = np.abs(v - 0.80 + 0.75 * (np.abs(u) - 0.6)) - 0.02
    loops = np.maximum(np.minimum(upper, lower), 0.55 - np.abs(u))
    return np.minimum(body, np.maximum(loops, np.abs(u) - 0.95))


def _cloth(u: Floats, v: Floats, shape: float) -> Floats:
    """Follows the jaw: wide at the nose, narrow at the chin, with a peak on the nose."""
    top = v + 0.12 + 0.10 * shape - 0.45 * np.abs(u) ** 1.5
    jaw = np.hypot(u / 0.85, (v - 0.05) / 0.98) - 1
    result: Floats = np.maximum(-top, jaw)
    return result


def _ffp2(u: Floats, v: Floats, shape: float) -> Floats:
    """A beak of two halves, pointed above and below."""
    return np.abs(u) / (0.66 + 0.06 * shape) + np.abs(v - 0.42) ** 1.6 / 0.50 - 1


def _veil(u: Floats, v: Floats, shape: float) -> Floats:
    """Round over the head, falling to the shoulders; all but a slit for the eyes is covered."""
    slit = _rounded(u, v + 0.42 + 0.08 * u * u, 0.50 + 0.06 * shape, 0.12 + 0.06 * shape, 0.11)
    head = np.hypot(u / 1.0, np.minimum(v + 0.25, 0) / 1.15) - 1
    fall = np.abs(u) - 0.98 - 0.22 * np.maximum(v, 0)
    return np.maximum(np.where(v < -0.25, head, fall), -slit)


def _sunglasses(u: Floats, v: Floats, shape: float) -> Floats:
    """Two lenses, a bridge and the temples."""
    side = np.abs(u) - 0.40
    lens = (np.abs(side) / 0.34) ** (2 + 2 * shape) + (np.abs(v) / 0.62) ** (2 + 2 * shape) - 1
    bridge = np.maximum(np.abs(v + 0.2) - 0.1, np.abs(u) - 1.0)
    return np.minimum(0.3 * lens, bridge)


def _scarf(u: Floats, v: Floats, shape: float) -> Floats:
    """Wound round mouth and chin; its upper edge is a wave."""
    edge = v - 0.05 + 0.15 * shape * np.sin(3 * u) - 0.12 * u
    result: Floats = np.maximum(-edge, np.abs(u) - 1.2)
    return result


def _hand(u: Floats, v: Floats, shape: float) -> Floats:
    """A palm with four fingers."""
    palm = np.hypot(u / 0.62, (v - 0.45) / 0.5) - 1
    fingers = [
        np.maximum(np.abs(u - x - 0.12 * shape * v) - 0.12, np.maximum(v - 0.4, -v - length))
        for x, length in ((-0.45, 0.45), (-0.16, 0.75), (0.13, 0.8), (0.42, 0.6))
    ]
    return np.minimum(0.5 * palm, np.minimum.reduce(fingers))


def _rounded(u: Floats, v: Floats, wide: float, high: float, radius: float) -> Floats:
    """Distance to a rectangle with rounded corners."""
    x, y = np.abs(u) - (wide - radius), np.abs(v) - (high - radius)
    return np.hypot(np.maximum(x, 0), np.maximum(y, 0)) + np.minimum(np.maximum(x, y), 0) - radius


ARTWORK: dict[Occluder, Artwork] = {
    "surgical": Artwork(
        _surgical,
        (
            Style((0.55, 0.75, 0.85), 0.2, "pleats"),
            Style((0.93, 0.94, 0.95), 0.6, "pleats"),
            Style((0.10, 0.10, 0.12), 0.4),
            Style((0.62, 0.60, 0.78), 0.8, "pleats"),
        ),
        (Style((0.45, 0.75, 0.65), 0.9, "pleats"), Style((0.85, 0.62, 0.70), 0.0), Style((0.30, 0.38, 0.62), 0.5)),
    ),
    "cloth": Artwork(
        _cloth,
        (
            Style((0.15, 0.20, 0.40), 0.1),
            Style((0.60, 0.15, 0.20), 0.7, "check"),
            Style((0.75, 0.70, 0.60), 0.4, "stripes"),
            Style((0.80, 0.55, 0.15), 0.6, "dots"),
        ),
        (
            Style((0.25, 0.40, 0.25), 0.9, "dots"),
            Style((0.45, 0.45, 0.50), 0.0, "stripes"),
            Style((0.35, 0.15, 0.35), 0.3),
        ),
    ),
    "ffp2": Artwork(
        _ffp2,
        (Style((0.95, 0.95, 0.93), 0.3), Style((0.12, 0.12, 0.12), 0.8), Style((0.70, 0.72, 0.74), 0.5, "pleats")),
        (Style((0.75, 0.82, 0.90), 0.0), Style((0.90, 0.86, 0.80), 0.6, "stripes")),
    ),
    "veil": Artwork(
        _veil,
        (Style((0.05, 0.05, 0.06), 0.3), Style((0.35, 0.28, 0.22), 0.8), Style((0.82, 0.80, 0.76), 0.5)),
        (Style((0.18, 0.18, 0.30), 0.0), Style((0.60, 0.58, 0.55), 0.6)),
    ),
    "sunglasses": Artwork(
        _sunglasses,
        (Style((0.04, 0.04, 0.05), 0.1), Style((0.25, 0.15, 0.08), 0.7), Style((0.10, 0.15, 0.20), 0.4)),
        (Style((0.08, 0.10, 0.08), 1.0), Style((0.30, 0.25, 0.30), 0.0)),
    ),
    "scarf": Artwork(
        _scarf,
        (
            Style((0.50, 0.10, 0.12), 0.3, "stripes"),
            Style((0.20, 0.30, 0.50), 0.8),
            Style((0.70, 0.70, 0.68), 0.5, "check"),
        ),
        (Style((0.30, 0.30, 0.10), 1.0, "dots"), Style((0.55, 0.35, 0.20), 0.0, "stripes")),
    ),
    "hand": Artwork(
        _hand,
        (Style((0.87, 0.67, 0.52), 0.3), Style((0.42, 0.28, 0.20), 0.7), Style((0.28, 0.18, 0.13), 0.5)),
        (Style((0.95, 0.80, 0.70), 0.0), Style((0.62, 0.43, 0.31), 1.0)),
    ),
}
"""Of every kind but `blocks`, which have no artwork: their sizes, places and colours are random."""


def paint(artwork: Artwork, style: Style, u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Opacity [H, W] and colour [H, W, 3], both in [0, 1], of a drawing at the coordinates u, v [H, W]."""
    alpha = np.clip(0.5 - artwork.outline(u, v, style.shape) / EDGE, 0, 1)
    shade = np.float32(1) - 0.18 * np.minimum(u * u, 1) + _pattern(style.pattern, u, v)
    colour = np.array(style.colour, np.float32) * shade[..., None]
    return alpha.astype(np.float32), np.clip(colour, 0, 1)


def _pattern(pattern: str, u: Floats, v: Floats) -> Floats:
    """Lighter and darker places, added to the shade."""
    if pattern == "pleats":
        return np.where(np.abs((v * 5) % 1 - 0.5) < 0.06, np.float32(-0.2), np.float32(0))
    if pattern == "stripes":
        stripes: Floats = 0.25 * np.sign(np.sin(14 * v + 4 * u))
        return stripes
    if pattern == "check":
        squares: Floats = 0.2 * np.sign(np.sin(12 * u)) * np.sign(np.sin(12 * v))
        return squares
    if pattern == "dots":
        return np.where(np.sin(16 * u) * np.sin(16 * v) > 0.4, np.float32(0.5), np.float32(0))
    return np.zeros_like(u)
