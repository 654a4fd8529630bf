"""Our own drawings of what covers faces, and the styles that they come in.

Coordinates u (right) and v (down) span [-1, 1] over the box that the occluder is pasted into. Outlines are splines
through random points: each style has its own, and training and testing share neither outlines nor colours, so that a
model is never tested on a drawing that it was trained on.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from oaml_core.config import Occluder
from oaml_core.data.augment.drawings import eyewear, fabrics, head, held, masks
from oaml_core.data.augment.drawings.canvas import Canvas, Floats
from oaml_core.data.augment.drawings.materials import PRINTS, Colour, Pattern

Split = Literal["train", "test"]
Draw = Callable[[Canvas, Colour, float, Pattern, np.random.Generator], None]

STYLES = 16
"""Of each kind and split."""


class Style(NamedTuple):
    """One variant of a drawing."""

    colour: Colour
    """RGB in [0, 1]."""
    shape: float
    """In [0, 1]: what it changes is the drawing's affair."""
    pattern: Pattern
    seed: tuple[int, int, int]
    """Of the outline's splines and of everything else that is random in it: kind, split, number."""


class Artwork(NamedTuple):
    """A drawing and its styles."""

    draw: Draw
    train: tuple[Style, ...]
    test: tuple[Style, ...]
    down: float = 1.9
    """How far it reaches below its box's middle, in units of half the box."""
    rigid: bool = False
    """Whether it keeps its form, as glasses and telephones do."""

    def styles(self, split: Split) -> tuple[Style, ...]:
        return self.train if split == "train" else self.test


MEDICAL = ((0.55, 0.75, 0.85), (0.93, 0.94, 0.95), (0.10, 0.10, 0.12), (0.62, 0.60, 0.78), (0.85, 0.62, 0.70))
CLOTH = (
    (0.15, 0.20, 0.40), (0.60, 0.15, 0.20), (0.75, 0.70, 0.60), (0.80, 0.55, 0.15),
    (0.25, 0.40, 0.25), (0.45, 0.45, 0.50), (0.35, 0.15, 0.35), (0.06, 0.06, 0.07),
)  # fmt: skip
STIFF = ((0.95, 0.95, 0.93), (0.12, 0.12, 0.12), (0.70, 0.72, 0.74), (0.75, 0.82, 0.90), (0.90, 0.86, 0.80))
VEILS = ((0.05, 0.05, 0.06), (0.05, 0.05, 0.06), (0.35, 0.28, 0.22), (0.82, 0.80, 0.76), (0.18, 0.18, 0.30))
LENSES = ((0.04, 0.04, 0.05), (0.25, 0.15, 0.08), (0.10, 0.15, 0.20), (0.08, 0.10, 0.08), (0.45, 0.30, 0.30))
FRAMES = ((0.05, 0.05, 0.06), (0.30, 0.18, 0.10), (0.65, 0.55, 0.35), (0.55, 0.56, 0.60), (0.45, 0.10, 0.15))
THINGS = ((0.08, 0.08, 0.09), (0.85, 0.85, 0.86), (0.35, 0.45, 0.60), (0.70, 0.30, 0.30), (0.40, 0.40, 0.42))
HAIRS = ((0.07, 0.05, 0.04), (0.22, 0.13, 0.08), (0.42, 0.27, 0.15), (0.70, 0.55, 0.32), (0.55, 0.53, 0.50))
WOVEN: tuple[Pattern, ...] = (*PRINTS, "knit")
PLEATED: tuple[Pattern, ...] = ("pleats", "pleats", "pleats", "plain", "flowers")
PLAIN: tuple[Pattern, ...] = ("plain", "plain", "plain", "stripes")


def _artwork(
    name: Occluder,
    draw: Draw,
    colours: Sequence[Colour],
    patterns: Sequence[Pattern],
    *,
    down: float = 1.9,
    rigid: bool = False,
) -> Artwork:
    train, test = (_styles(name, split, colours, patterns) for split in (0, 1))
    return Artwork(draw, train, test, down, rigid)


def _styles(name: str, split: int, colours: Sequence[Colour], patterns: Sequence[Pattern]) -> tuple[Style, ...]:
    """Styles from the kind's name alone: colours are taken in turn and varied."""
    kind = zlib.crc32(name.encode())
    random = np.random.default_rng([kind, split])
    styles = []
    for number in range(STYLES):
        varied = np.clip(np.array(colours[number % len(colours)]) + random.normal(0, 0.05, 3), 0.02, 0.98)
        red, green, blue = varied.tolist()
        pattern = patterns[int(random.integers(len(patterns)))]
        styles.append(Style((red, green, blue), float(random.random()), pattern, (kind, split, number)))
    return tuple(styles)


ARTWORK: dict[Occluder, Artwork] = {
    "surgical": _artwork("surgical", masks.surgical, MEDICAL, PLEATED),
    "cloth": _artwork("cloth", masks.cloth_mask, CLOTH, PRINTS),
    "ffp2": _artwork("ffp2", masks.ffp2, STIFF, PLAIN),
    "veil": _artwork("veil", fabrics.veil, VEILS, PLAIN, down=4.0),
    "niqab": _artwork("niqab", fabrics.niqab, VEILS, PLAIN, down=4.0),
    "sunglasses": _artwork("sunglasses", eyewear.sunglasses, LENSES, PLAIN, rigid=True),
    "eyeglasses": _artwork("eyeglasses", eyewear.eyeglasses, FRAMES, PLAIN, rigid=True),
    "scarf": _artwork("scarf", fabrics.scarf, CLOTH, WOVEN, down=4.0),
    "hand": _artwork("hand", held.hand, held.SKINS, PLAIN, down=2.6),
    "phone": _artwork("phone", held.phone, THINGS, PLAIN, rigid=True),
    "microphone": _artwork("microphone", held.microphone, THINGS, PLAIN, down=2.6, rigid=True),
    "hat": _artwork("hat", head.hat, CLOTH, WOVEN),
    "hair": _artwork("hair", head.hair, HAIRS, PLAIN, down=4.0),
}
"""Of every kind but `blocks`, which have no artwork: their sizes, places and colours are random."""


def paint(artwork: Artwork, style: Style, u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Opacity [h, w] and colour [h, w, 3] multiplied by it, in [0, 1], of a drawing on the grid of u [w], v [h]."""
    canvas = Canvas(u, v)
    artwork.draw(canvas, style.colour, style.shape, style.pattern, np.random.default_rng(style.seed))
    opacity = np.clip(canvas.opacity, 0, 1)
    return opacity, np.minimum(np.clip(canvas.colour, 0, 1), opacity[..., None])
