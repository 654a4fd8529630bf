"""Cloth round the head: veils, niqabs of several kinds, scarves."""

from __future__ import annotations

import numpy as np

from oaml_core.data.augment.drawings.canvas import Canvas, Floats, curve, wobbled
from oaml_core.data.augment.drawings.materials import Colour, Pattern, cloth, folds


def veil(canvas: Canvas, colour: Colour, shape: float, pattern: Pattern, random: np.random.Generator) -> None:
    """One cloth over the head, falling to the shoulders, with a slit for the eyes; sometimes sheer at its edge."""
    body = _over_the_head(canvas, random)
    canvas.lay(body, cloth(canvas, colour, pattern, random))
    canvas.shade(_drape(canvas, random))
    slit = _slit(shape, random)
    opening = canvas.inside(slit)
    rim = np.concatenate([slit, slit[:1]])
    canvas.shade(1 - 0.4 * canvas.along(rim, 0.05))
    if random.random() < 0.3:
        sheer = canvas.along(rim, 0.12) * (1 - opening)
        canvas.cut(sheer * random.uniform(0.2, 0.5))
    canvas.cut(opening)


def niqab(canvas: Canvas, colour: Colour, shape: float, pattern: Pattern, random: np.random.Generator) -> None:
    """A face veil under a head cloth: half, with a string between the eyes, in layers, or of sheer cloth."""
    head = np.array(colour) * random.uniform(0.7, 1.3)
    opening = _face_opening(random)
    canvas.lay(_over_the_head(canvas, random), cloth(canvas, _tuple(head), "plain", random))
    canvas.shade(_drape(canvas, random))
    canvas.shade(1 - 0.35 * canvas.along(np.concatenate([opening, opening[:1]]), 0.07))
    canvas.cut(canvas.inside(opening))
    top = random.uniform(-0.24, 0.02) - 0.1 * shape
    flap = _flap(top, random)
    covered = canvas.inside(flap)
    sheer = random.uniform(0.72, 0.95) if random.random() < 0.35 else 1.0
    thick = np.clip(sheer + (canvas.v - top - 0.25) * 1.5, sheer, 1)
    canvas.lay(
        covered * thick.astype(np.float32), cloth(canvas, colour, pattern, random) * _drape(canvas, random)[..., None]
    )
    edge = canvas.along(flap[: len(flap) // 2], 0.04)
    canvas.shade(1 - 0.3 * edge)
    if random.random() < 0.4:
        band = curve(wobbled([(-0.8, -0.86), (-0.3, -0.92), (0.3, -0.92), (0.8, -0.86)], random, 0.02), closed=False)
        canvas.lay(canvas.along(band, random.uniform(0.08, 0.2)), np.array(colour) * 0.9)
    if random.random() < 0.35:
        string = wobbled([(0, -1.0), (0.005, top + 0.03)], random, 0.01)
        canvas.lay(canvas.along(string, 0.022), np.array(colour) * 0.8)


def scarf(canvas: Canvas, colour: Colour, shape: float, pattern: Pattern, random: np.random.Generator) -> None:
    """Wound round mouth and chin: its upper edge a wave, a second winding below, knitted or printed."""
    level = random.uniform(0.05, 0.4)
    places = np.linspace(-1.3, 1.3, 7)
    rise = 0.16 * shape * np.abs(places) * random.choice([-1, 1])
    top = np.stack([places, level - rise + random.normal(0, 0.05, 7)], -1)
    edge = curve(top, closed=False)
    body = _below(canvas, edge) * (np.abs(canvas.u) <= 1.2)
    canvas.lay(body, cloth(canvas, colour, pattern, random))
    canvas.shade(folds(canvas, random, depth=0.24))
    for _ in range(int(random.integers(1, 4))):
        lower = edge + np.array([0, random.uniform(0.2, 0.8)], np.float32)
        lower[:, 1] += random.uniform(-0.3, 0.3) * lower[:, 0]
        under = _below(canvas, lower)
        falling = np.clip(1 - (canvas.v - np.interp(canvas.u[0], lower[:, 0], lower[:, 1])[None]) / 0.25, 0, 1)
        canvas.shade(1 - 0.32 * under * falling.astype(np.float32))
    canvas.shade(1 + 0.12 * canvas.along(edge + np.array([0, 0.05], np.float32), 0.07))


def _over_the_head(canvas: Canvas, random: np.random.Generator) -> Floats:
    """Return a hood round the head that falls to the shoulders."""
    wide, high = random.uniform(0.88, 1.05), random.uniform(1.25, 1.5)
    half = [(0, -high), (0.5 * wide, -0.94 * high), (0.9 * wide, -0.75), (wide, -0.2), (1.02 * wide, 0.5)]
    half += [(1.1 * wide, 1.2), (1.25, 2.4), (1.28, 4.1)]
    right = wobbled(half, random, 0.02)
    left = wobbled(half, random, 0.02)[::-1] * np.array([-1, 1], np.float32)
    return canvas.inside(curve(np.concatenate([right, left[:-1]])))


def _slit(shape: float, random: np.random.Generator) -> Floats:
    wide, high = 0.46 + 0.14 * shape, random.uniform(0.11, 0.2)
    middle = random.uniform(-0.46, -0.38)
    ring = [
        (-wide, 0.1),
        (-0.6 * wide, -0.85),
        (0, -1),
        (0.6 * wide, -0.85),
        (wide, 0.1),
        (0.5 * wide, 0.95),
        (0, 0.75),
    ]
    ring.append((-0.5 * wide, 0.95))
    scaled = np.array(ring, np.float32) * np.array([1, high], np.float32) + np.array([0, middle], np.float32)
    return curve(wobbled(scaled, random, 0.02))


def _face_opening(random: np.random.Generator) -> Floats:
    wide, top = random.uniform(0.6, 0.72), random.uniform(-0.86, -0.66)
    ring = [(0, top), (0.6 * wide, top + 0.08), (wide, -0.3), (0.95 * wide, 0.3), (0.6 * wide, 0.9), (0, 1.1)]
    ring += [(-x, y) for x, y in ring[-2:0:-1]]
    return curve(wobbled(ring, random, 0.02))


def _flap(top: float, random: np.random.Generator) -> Floats:
    side = top - random.uniform(0.05, 0.3)
    upper = [(-0.8, side), (-0.4, top - 0.02), (0, top + random.uniform(-0.04, 0.06)), (0.4, top - 0.02), (0.8, side)]
    edge = curve(wobbled(upper, random, 0.018), closed=False)
    long = random.uniform(1.5, 3.5)
    lower = curve(
        wobbled([(0.9, 0.8), (0.8, long), (0, long + 0.3), (-0.8, long), (-0.9, 0.8)], random, 0.04), closed=False
    )
    return np.concatenate([edge, lower])


def _drape(canvas: Canvas, random: np.random.Generator) -> Floats:
    """Folds that fall down and fan out below the chin."""
    fan = canvas.u / (1 + 0.35 * np.maximum(canvas.v, 0)) + 0.06 * canvas.clouds(random, 4, 5)
    deep = np.clip(0.4 + 0.5 * canvas.v, 0.25, 1)
    ridges = np.sin(random.uniform(9, 17) * fan + random.uniform(0, 6))
    return (1 + random.uniform(0.08, 0.2) * deep * ridges).astype(np.float32)


def _below(canvas: Canvas, edge: Floats) -> Floats:
    corners = np.array([(edge[-1, 0], 4.5), (edge[0, 0], 4.5)], np.float32)
    return canvas.inside(np.concatenate([edge, corners]))


def _tuple(colour: Floats) -> Colour:
    red, green, blue = np.clip(colour, 0, 1).tolist()
    return red, green, blue
