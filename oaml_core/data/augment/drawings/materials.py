"""Colours of cloth, skin and glass over a canvas: weave, prints, folds, reflections."""

from __future__ import annotations

from typing import Literal

import numpy as np

from oaml_core.data.augment.drawings.canvas import Canvas, Floats

Colour = tuple[float, float, float]
Pattern = Literal["plain", "pleats", "stripes", "check", "dots", "flowers", "knit"]
PRINTS: tuple[Pattern, ...] = ("plain", "plain", "stripes", "check", "dots", "flowers")


def cloth(canvas: Canvas, colour: Colour, pattern: Pattern, random: np.random.Generator) -> Floats:
    """Return a fabric [h, w, 3]: print, creases and uneven light."""
    dyed = np.broadcast_to(np.array(colour, np.float32), (*canvas.shape, 3))
    ink = np.clip(np.array(colour) * random.uniform(0.3, 0.6) + random.uniform(0, 0.6, 3), 0, 1).astype(np.float32)
    share = printed(canvas, pattern, random)[..., None]
    shaded: Floats = (dyed * (1 - share) + ink * share) * folds(canvas, random)[..., None]
    return shaded


def printed(canvas: Canvas, pattern: Pattern, random: np.random.Generator) -> Floats:
    """Return share [h, w] of the ink of a print."""
    turn, often = random.uniform(-0.5, 0.5), random.uniform(9, 20)
    phase = random.uniform(0, 6, 2)
    across = often * (canvas.u * np.cos(turn) + canvas.v * np.sin(turn)) + phase[0]
    down = often * (canvas.v * np.cos(turn) - canvas.u * np.sin(turn)) + phase[1]
    if pattern == "stripes":
        return _soft(np.sin(down) - random.uniform(-0.5, 0.6) + 0 * across)
    if pattern == "check":
        both: Floats = (0.5 * (_soft(np.sin(across)) + _soft(np.sin(down)))).astype(np.float32)
        return both
    if pattern == "dots":
        return _soft(np.sin(across) * np.sin(down) - random.uniform(0.2, 0.6))
    if pattern == "flowers":
        return _soft(canvas.clouds(random, 14, 12) - random.uniform(0.2, 0.8))
    if pattern == "knit":
        rows: Floats = (0.25 + 0.25 * np.sin(3 * across + 0.8 * np.sin(2 * down))).astype(np.float32)
        return rows
    return np.zeros(canvas.shape, np.float32)


def folds(canvas: Canvas, random: np.random.Generator, depth: float = 0.1) -> Floats:
    """Factors [h, w] about 1: creases that run one way, and light that falls off to the sides."""
    turn, often = random.uniform(0, np.pi), random.uniform(3, 9)
    bent = canvas.u * np.cos(turn) + canvas.v * np.sin(turn) + 0.16 * canvas.clouds(random, 3, 3)
    ridges = np.abs(np.sin(often * bent)) ** 0.6 - 0.7
    fall = -0.16 * np.minimum(canvas.u**2, 1.5) - random.uniform(0, 0.12) * canvas.v
    fine = 0.025 * canvas.clouds(random, 60, 40)
    factors: Floats = (1 + depth * ridges + fall + 0.05 * canvas.clouds(random, 5, 5) + fine).astype(np.float32)
    return factors


def glare(canvas: Canvas, random: np.random.Generator, strength: float) -> Floats:
    """Opacity [h, w] of light thrown back by glass: slanted bands, brighter on one side."""
    turn, place = random.uniform(0.3, 1.2), random.uniform(-0.5, 0.5)
    slanted = canvas.u * np.cos(turn) + 0.4 * canvas.v * np.sin(turn) - place
    band = np.exp(-((slanted / random.uniform(0.05, 0.2)) ** 2))
    second = 0.6 * np.exp(-(((slanted - random.uniform(0.6, 1.0)) / random.uniform(0.04, 0.15)) ** 2))
    shine: Floats = (strength * (band + second)).astype(np.float32)
    return np.minimum(shine, 1)


def _soft(level: Floats) -> Floats:
    """0 below 0, 1 above, with a narrow ramp."""
    return np.clip(0.5 + 3 * level, 0, 1).astype(np.float32)
