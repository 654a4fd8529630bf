"""Sunglasses and eyeglasses: lenses of many forms, frames, bridges, temples, reflections."""

from __future__ import annotations

import numpy as np

from oaml_core.data.augment.drawings.canvas import Canvas, Floats, curve, wobbled
from oaml_core.data.augment.drawings.materials import Colour, Pattern, glare

EYE = 0.435
"""Height of the eyes: the box is 1.15 times their distance wide to each side."""
HINGE = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], np.float32)
"""Corners of the piece that holds a temple."""


def sunglasses(canvas: Canvas, colour: Colour, shape: float, pattern: Pattern, random: np.random.Generator) -> None:
    """Dark, tinted, graded or mirroring lenses."""
    tint = np.array(colour, np.float32)
    frame = tint * 0.5 if random.random() < 0.6 else random.uniform(0, 0.9, 3).astype(np.float32)
    lens = _lens(shape, random, large=True)
    fade = np.clip(0.5 + 0.5 * canvas.v / 0.8, 0, 1) * random.uniform(0, 0.6)
    graded = tint * (1 - fade[..., None]) + np.clip(tint + 0.35, 0, 1) * fade[..., None]
    if pattern != "plain":
        sweep = 0.5 + 0.5 * np.sin(2.2 * canvas.v + 1.5 * canvas.u + np.array([0, 2, 4])[:, None, None])
        graded = 0.35 * graded + 0.65 * np.moveaxis(sweep, 0, -1) * np.clip(tint + 0.3, 0, 1)
    dark = random.uniform(0.78, 0.98) - (0.35 * fade if random.random() < 0.4 else 0)
    _wear(canvas, lens, frame, random, width=random.uniform(0.04, 0.12))
    for side in (-1, 1):
        glass = canvas.inside(_at(lens, side))
        canvas.lay(glass * np.asarray(dark, np.float32), graded)
        canvas.lay(glass * glare(canvas, random, random.uniform(0, 0.5)), (0.95, 0.97, 1.0))
    _rims(canvas, lens, frame, width=random.uniform(0.05, 0.13))


def eyeglasses(canvas: Canvas, colour: Colour, shape: float, pattern: Pattern, random: np.random.Generator) -> None:
    """Clear lenses in frames from wire to thick plastic, with glare."""
    lens = _lens(shape, random, large=False)
    width = random.uniform(0.045, 0.07) if random.random() < 0.5 else random.uniform(0.07, 0.15)
    frame = np.array(colour, np.float32)
    _wear(canvas, lens, frame, random, width)
    for side in (-1, 1):
        glass = canvas.inside(_at(lens, side))
        canvas.lay(glass * np.float32(random.uniform(0.02, 0.12)), (0.75, 0.82, 0.9))
        if random.random() < 0.6:
            canvas.lay(glass * glare(canvas, random, random.uniform(0.1, 0.7)), (0.97, 0.98, 1.0))
    _rims(canvas, lens, frame, width)


def _lens(shape: float, random: np.random.Generator, *, large: bool) -> Floats:
    """Outline [n, 2] of the right lens about its middle: a superellipse, dropped, slanted or squared."""
    wide = random.uniform(0.34, 0.405) if large else random.uniform(0.29, 0.37)
    high = random.uniform(0.52, 0.95) if large else random.uniform(0.42, 0.8)
    power = 2 / (2.0 + 3.5 * shape)
    around = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    cos, sin = np.cos(around), np.sin(around)
    x, y = wide * np.sign(cos) * np.abs(cos) ** power, high * np.sign(sin) * np.abs(sin) ** power
    x = x * (1 - random.uniform(-0.05, 0.25) * y)
    y = y - random.uniform(-0.1, 0.35) * x + random.uniform(0, 0.1)
    return curve(wobbled(np.stack([x, y], -1), random, 0.012), steps=6)


def _at(lens: Floats, side: int) -> Floats:
    return (lens + np.array([EYE, 0.05], np.float32)) * np.array([side, 1], np.float32)


def _wear(canvas: Canvas, lens: Floats, frame: Floats, random: np.random.Generator, width: float) -> None:
    """The bridge over the nose, and the temples to the ears."""
    inner, outer = EYE + float(lens[:, 0].min()), EYE + float(lens[:, 0].max())
    level = random.uniform(-0.35, 0.0)
    arch = curve(
        [(-inner - 0.02, level + 0.06), (0, level - random.uniform(0.02, 0.16)), (inner + 0.02, level + 0.06)],
        closed=False,
    )
    canvas.lay(canvas.along(arch, max(0.05, width)), frame)
    if random.random() < 0.25:
        bar = np.array([(-inner - 0.1, -0.5), (inner + 0.1, -0.5)], np.float32)
        canvas.lay(canvas.along(bar, 0.045), frame)
    rise = random.uniform(-0.35, -0.05)
    hinge = random.uniform(0.055, 0.075), random.uniform(0.14, 0.2)
    for side in (-1, 1):
        temple = np.array([(side * (outer - 0.03), level - 0.1), (side * random.uniform(1.04, 1.2), rise)], np.float32)
        canvas.lay(canvas.along(temple, max(0.06, 1.3 * width)), frame * 0.9)
        end = np.array([side * (outer + 0.02), level - 0.1], np.float32)
        canvas.lay(canvas.inside(end + HINGE * np.array(hinge, np.float32)), frame)


def _rims(canvas: Canvas, lens: Floats, frame: Floats, width: float) -> None:
    lit = np.clip(frame * (1.15 - 0.3 * canvas.v[..., None]) + 0 * canvas.u[..., None], 0, 1)
    for side in (-1, 1):
        ring = _at(lens, side)
        canvas.lay(canvas.along(np.concatenate([ring, ring[:2]]), width), lit)
