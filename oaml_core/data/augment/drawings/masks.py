"""Masks over nose and mouth: surgical, of cloth, FFP2; with seams, pleats, wire and straps."""

from __future__ import annotations

import numpy as np

from oaml_core.data.augment.drawings.canvas import Canvas, Floats, curve, mirrored, wobbled
from oaml_core.data.augment.drawings.materials import Colour, Pattern, cloth, folds

STRAPS: tuple[Colour, ...] = ((0.92, 0.92, 0.92), (0.92, 0.92, 0.92), (0.12, 0.12, 0.13))


def surgical(canvas: Canvas, colour: Colour, shape: float, pattern: Pattern, random: np.random.Generator) -> None:
    """Flat above and rounded below, pleated across, with a wire at the nose and loops round the ears."""
    wide, top = 0.62 + 0.1 * shape, random.uniform(-0.16, 0.02)
    side = top + random.uniform(0.18, 0.34)
    half = [
        (0, top),
        (0.4 * wide, top + 0.05),
        (0.94 * wide, side - 0.03),
        (wide, side + 0.06),
        (0.99 * wide, side + 0.32),
        (0.9 * wide, 0.9),
        (0.62 * wide, random.uniform(1.02, 1.14)),
        (0, random.uniform(1.1, 1.28)),
    ]
    outline = mirrored(half, random, 0.022)
    _loops(canvas, (0.97 * wide, side + 0.02), (0.93 * wide, 0.84), random)
    body = canvas.inside(outline)
    material = cloth(canvas, colour, "plain" if pattern == "pleats" else pattern, random)
    canvas.lay(body, material)
    if pattern != "pleats" or random.random() < 0.8:
        _pleats(canvas, body, random)
    _hem(canvas, outline, body, colour, random)


def cloth_mask(canvas: Canvas, colour: Colour, shape: float, pattern: Pattern, random: np.random.Generator) -> None:
    """Draw a cloth mask: two halves with a seam down the middle, following nose and jaw."""
    wide, peak = 0.66 + 0.1 * shape, random.uniform(-0.36, -0.12)
    half = [
        (0, peak),
        (0.16, peak + 0.1),
        (0.42 * wide, peak + random.uniform(0.2, 0.34)),
        (wide, random.uniform(0.0, 0.16)),
        (1.01 * wide, 0.42),
        (0.86 * wide, 0.8),
        (0.5 * wide, random.uniform(1.04, 1.16)),
        (0, random.uniform(1.14, 1.3)),
    ]
    outline = mirrored(half, random, 0.025)
    _loops(canvas, (0.96 * wide, 0.12), (0.88 * wide, 0.72), random)
    body = canvas.inside(outline)
    canvas.lay(body, cloth(canvas, colour, pattern, random))
    if random.random() < 0.7:
        seam = curve(wobbled([(0, peak), (0.02, 0.2), (0.03, 0.6), (0, 1.2)], random, 0.02), closed=False)
        canvas.shade(1 - 0.35 * canvas.along(seam, 0.03), body)
        canvas.shade(1 + 0.12 * np.exp(-((canvas.u / 0.14) ** 2)), body)
    if random.random() < 0.25:
        mark = wobbled([(0.2, 0.5), (0.42, 0.5), (0.42, 0.62), (0.2, 0.62)], random, 0.02)
        canvas.lay(canvas.inside(curve(mark)) * body, random.uniform(0, 1, 3))
    _hem(canvas, outline, body, colour, random)


def ffp2(canvas: Canvas, colour: Colour, shape: float, pattern: Pattern, random: np.random.Generator) -> None:
    """A stiff cup: a beak with a ridge, or two panels with a seam across; sometimes with a valve."""
    wide, top = 0.56 + 0.1 * shape, random.uniform(-0.3, -0.12)
    waist = random.uniform(0.3, 0.5)
    half = [
        (0, top),
        (0.3 * wide, top + 0.12),
        (0.72 * wide, waist - 0.28),
        (wide, waist),
        (0.94 * wide, waist + 0.2),
        (0.6 * wide, 0.98),
        (0, random.uniform(1.1, 1.26)),
    ]
    outline = mirrored(half, random, 0.02)
    _bands(canvas, wide, waist, random)
    body = canvas.inside(outline)
    canvas.lay(body, cloth(canvas, colour, "plain" if pattern == "pleats" else pattern, random))
    beak = random.random() < 0.5
    if beak:
        canvas.shade(
            1 + 0.16 * np.sign(canvas.u + 0.001) * random.choice([-1, 1]) * np.exp(-np.abs(canvas.u) * 2), body
        )
        canvas.shade(1 - 0.3 * canvas.along(np.array([(0, top), (0, 1.2)], np.float32), 0.025), body)
    else:
        for level in (waist - 0.2, waist + 0.25):
            seam = curve([(-wide, waist), (-0.4 * wide, level), (0.4 * wide, level), (wide, waist)], closed=False)
            canvas.shade(1 - 0.25 * canvas.along(seam, 0.03), body)
        canvas.shade(1.08 - 0.3 * (canvas.v - waist) ** 2 + 0 * canvas.u, body)
    if random.random() < 0.35:
        _valve(canvas, random.uniform(-0.2, 0.2), waist + 0.1, colour, random)
    _hem(canvas, outline, body, colour, random)


def _loops(canvas: Canvas, upper: tuple[float, float], lower: tuple[float, float], random: np.random.Generator) -> None:
    """Elastic from the corners to the ears, on both sides; seldom ties instead, or none to be seen."""
    if random.random() < 0.1:
        return
    strap = STRAPS[int(random.integers(len(STRAPS)))]
    ear = random.uniform(0.86, 0.98), random.uniform(-0.34, -0.1)
    width = random.uniform(0.018, 0.034)
    for side in (-1, 1):
        for (x, y), sag in ((upper, -0.02), (lower, random.uniform(-0.02, 0.08))):
            end = ear[0], ear[1] + (0.0 if y == upper[1] else random.uniform(0.2, 0.42))
            bent = curve([(x, y), ((x + end[0]) / 2 + sag, (y + end[1]) / 2 + sag), end], closed=False)
            canvas.lay(canvas.along(bent * np.array([side, 1], np.float32), width), strap)


def _bands(canvas: Canvas, wide: float, waist: float, random: np.random.Generator) -> None:
    """Head bands: one over the ear, one below it."""
    strap = STRAPS[int(random.integers(len(STRAPS)))]
    for side in (-1, 1):
        for end in (random.uniform(-0.5, -0.2), random.uniform(0.2, 0.5)):
            line = np.array([(side * 0.9 * wide, waist), (side * 1.05, end)], np.float32)
            canvas.lay(canvas.along(line, random.uniform(0.025, 0.045)), strap)


def _pleats(canvas: Canvas, body: Floats, random: np.random.Generator) -> None:
    """Three or four steps across, dark below each edge and bright above it."""
    count, bend = int(random.integers(3, 5)), random.uniform(-0.15, 0.1)
    height = canvas.v - bend * canvas.u**2 + 0.015 * canvas.clouds(random, 3, 4)
    for level in np.linspace(0.28, 0.92, count) + random.uniform(-0.04, 0.04, count):
        gap = height - level
        canvas.shade(1 - 0.3 * np.exp(-((gap / 0.025) ** 2)) - 0.14 * np.clip(1 - gap / 0.14, 0, 1) * (gap > 0), body)
        canvas.shade(1 + 0.08 * np.exp(-(((gap + 0.05) / 0.03) ** 2)), body)


def _hem(canvas: Canvas, outline: Floats, body: Floats, colour: Colour, random: np.random.Generator) -> None:
    """A stitched edge a little brighter or darker than the rest, and dark where the body turns away."""
    closed = np.concatenate([outline, outline[:1]])
    edge = canvas.along(closed, random.uniform(0.05, 0.09)) * body
    canvas.shade(np.full(canvas.shape, random.uniform(0.82, 1.12), np.float32), edge)
    canvas.shade(1 - 0.3 * canvas.along(closed, 0.02), body)
    canvas.shade(folds(canvas, random, depth=0.04), 0.5)


def _valve(canvas: Canvas, x: float, y: float, colour: Colour, random: np.random.Generator) -> None:
    around = np.linspace(0, 2 * np.pi, 24, dtype=np.float32)
    ring = np.stack([x + 0.12 * np.cos(around), y + 0.17 * np.sin(around)], -1)
    canvas.lay(canvas.inside(ring), np.array(colour) * random.uniform(0.6, 0.95))
    canvas.shade(1 - 0.45 * canvas.along(ring, 0.02))
    for level in np.linspace(-0.09, 0.09, 4):
        slot = np.array([(x - 0.07, y + level), (x + 0.07, y + level)], np.float32)
        canvas.shade(1 - 0.35 * canvas.along(slot, 0.018))
