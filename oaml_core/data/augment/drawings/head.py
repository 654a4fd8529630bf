"""What hangs over the forehead: caps, beanies, hats with brims, and hair."""

from __future__ import annotations

import numpy as np

from oaml_core.data.augment.drawings.canvas import Canvas, Floats, curve, mirrored, wobbled
from oaml_core.data.augment.drawings.materials import Colour, Pattern, cloth


def hat(canvas: Canvas, colour: Colour, shape: float, pattern: Pattern, random: np.random.Generator) -> None:
    """A beanie with a turned-up edge, a cap with a peak, or a hat with a brim."""
    wide, low = random.uniform(0.92, 1.08), random.uniform(0.1, 0.55)
    crown = mirrored(
        [(0, -1.7), (0.6 * wide, -1.5), (0.95 * wide, -0.7), (wide, low), (0.5 * wide, low - 0.05), (0, low - 0.1)],
        random,
        0.025,
    )
    covered = canvas.inside(crown)
    canvas.lay(covered, cloth(canvas, colour, pattern, random))
    canvas.shade(1.05 - 0.35 * (canvas.u / wide) ** 2 + 0 * canvas.v, covered)
    if shape < 0.34:
        _turned_up(canvas, wide, low, colour, random)
    elif shape < 0.67:
        _peak(canvas, wide, low, colour, random)
    else:
        _brim(canvas, low, colour, random)


def hair(canvas: Canvas, colour: Colour, shape: float, pattern: Pattern, random: np.random.Generator) -> None:
    """A fringe over the forehead, sometimes over an eye, and locks at the sides, strand by strand."""
    base = np.array(colour, np.float32)
    low, lean = random.uniform(0.35, 1.15), random.uniform(-0.5, 0.5)
    long = random.uniform(0.6, 3.5) if random.random() < 0.7 else 0.4
    cap = mirrored(
        [(0, -1.7), (0.8, -1.5), (1.2, -0.6), (1.15, 0.2), (0.95, 0.1), (0.6, low - 0.6), (0, low - 0.65)], random, 0.05
    )
    canvas.lay(canvas.inside(cap), base * 0.8)
    parting = random.uniform(-0.5, 0.5)
    for _ in range(70):
        start = random.uniform(-1.0, 1.0)
        reach = low - 0.45 * abs(start - parting) + random.normal(0, 0.12)
        if abs(start) > 0.72:
            reach = long + random.normal(0, 0.15)
        _lock(canvas, start, reach, lean * (1 if abs(start) <= 0.72 else 0.15), base, random)


def _turned_up(canvas: Canvas, wide: float, low: float, colour: Colour, random: np.random.Generator) -> None:
    height = random.uniform(0.28, 0.5)
    ring = [
        (-1.03 * wide, low - height),
        (0, low - height - 0.12),
        (1.03 * wide, low - height),
        (1.04 * wide, low + 0.05),
        (0, low - 0.05),
        (-1.04 * wide, low + 0.05),
    ]
    edge = curve(wobbled(ring, random, 0.02))
    canvas.lay(canvas.inside(edge), cloth(canvas, colour, "knit", random) * random.uniform(0.85, 1.1))
    canvas.shade(1 - 0.35 * canvas.along(np.concatenate([edge, edge[:1]]), 0.05))


def _peak(canvas: Canvas, wide: float, low: float, colour: Colour, random: np.random.Generator) -> None:
    """Seen from the front: a bow that is deepest in the middle or to one side."""
    aside, deep = random.uniform(-0.25, 0.25), random.uniform(0.25, 0.45)
    ring = [
        (-0.92 * wide, low - 0.05),
        (-0.5, low - 0.22),
        (0, low - 0.28),
        (0.5, low - 0.22),
        (0.92 * wide, low - 0.05),
    ]
    ring += [(0.6 + aside, low + 0.6 * deep), (aside, low + deep), (-0.6 + aside, low + 0.6 * deep)]
    edge = curve(wobbled(ring, random, 0.02))
    tone = np.array(colour) * random.uniform(0.5, 1.1) if random.random() < 0.7 else random.uniform(0, 0.9, 3)
    light = 1.15 - 0.5 * np.clip((canvas.v - low + 0.3) / (deep + 0.3), 0, 1) + 0 * canvas.u
    canvas.lay(canvas.inside(edge), tone * light[..., None])
    canvas.shade(1 - 0.3 * canvas.along(np.concatenate([edge, edge[:1]]), 0.05))
    if random.random() < 0.5:
        badge = curve(
            wobbled([(-0.2, low - 0.75), (0.2, low - 0.75), (0.2, low - 0.45), (-0.2, low - 0.45)], random, 0.04)
        )
        canvas.lay(canvas.inside(badge), random.uniform(0, 1, 3))


def _brim(canvas: Canvas, low: float, colour: Colour, random: np.random.Generator) -> None:
    band = curve(wobbled([(-1.1, low - 0.3), (0, low - 0.42), (1.1, low - 0.3)], random, 0.02), closed=False)
    canvas.lay(canvas.along(band, 0.2) * canvas.opacity, np.array(colour) * random.uniform(0.2, 0.7))
    sag = random.uniform(0.05, 0.3)
    ring = [(-1.5, low - sag), (-0.8, low - 0.2), (0, low - 0.26), (0.8, low - 0.2), (1.5, low - sag)]
    ring += [(0.8, low + 0.2), (0, low + 0.25), (-0.8, low + 0.2)]
    edge = curve(wobbled(ring, random, 0.02))
    canvas.lay(canvas.inside(edge), cloth(canvas, colour, "plain", random) * 0.85)
    canvas.shade(1 - 0.35 * canvas.along(np.concatenate([edge, edge[:1]]), 0.05))


def _lock(canvas: Canvas, start: float, reach: float, lean: float, base: Floats, random: np.random.Generator) -> None:
    """One lock: a narrow leaf from the crown to `reach`."""
    top = -1.35 + 0.35 * start * start
    end = start * 1.05 + lean * (reach - top) * 0.5 + random.normal(0, 0.06)
    middle = (start + end) / 2 + random.normal(0, 0.06), (top + reach) / 2
    half = random.uniform(0.035, 0.09)
    leaf = [(start, top), (middle[0] + half, middle[1]), (end + 0.3 * half, reach - 0.1), (end, reach)]
    leaf += [(end - 0.4 * half, reach - 0.15), (middle[0] - half, middle[1])]
    covered = canvas.inside(curve(leaf, steps=5))
    shine = 1 + 0.35 * np.exp(-(((canvas.v + 0.7) / 0.22) ** 2)) * random.uniform(0, 1)
    stripes = 0.1 * np.sin(70 * (canvas.u - lean * canvas.v * 0.5) + random.uniform(0, 6))
    canvas.shade(1 - 0.12 * canvas.along(curve(leaf, steps=5), 0.03))
    tone = base * random.uniform(0.65, 1.25)
    canvas.lay(
        covered * np.float32(random.uniform(0.85, 1.0)), tone * (shine * np.ones(canvas.shape) + stripes)[..., None]
    )
