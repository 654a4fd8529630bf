"""Our own drawings of what covers faces, and the styles that they come in.

Coordinates u (right) and v (down) span [-1, 1] over the box that the occluder is pasted into. Outlines are splines
through random points: each style has its own, and training and testing share neither outlines nor colours, so that a
model is never tested on a drawing that it was trained on.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np

from oaml_core.data.augment.drawings import eyewear, fabrics, head, held, masks
from oaml_core.data.augment.drawings.canvas import Canvas, Floats
from oaml_core.data.augment.drawings.materials import PRINTS, Colour, Pattern
from oaml_core.data.augment.placing import (
    Place,
    above_the_eyes,
    at_the_eyes,
    before_the_mouth,
    held_at_the_ear,
    held_at_the_mouth,
    held_by_hand,
    on_the_forehead,
)
from oaml_core.registry import OCCLUDERS, register_occluder

Split = Literal["train", "test"]
Draw = Callable[[Canvas, Colour, float, Pattern, np.random.Generator], None]

STYLES = 16
"""Drawings of each kind and split."""


class Style(NamedTuple):
    """One variant of a drawing."""

    colour: Colour
    """RGB in [0, 1]."""
    shape: float
    """In [0, 1]: what it changes is the drawing's affair."""
    pattern: Pattern
    seed: tuple[int, int, int]
    """Seed of the outline's splines and of everything else that is random: kind, split, number."""


class Artwork(NamedTuple):
    """A drawing and its styles."""

    draw: Draw
    train: tuple[Style, ...]
    test: tuple[Style, ...]
    down: float = 1.9
    """How far it reaches below its box's middle, in units of half the box."""
    rigid: bool = False
    """Whether it keeps its form, as glasses and telephones do."""
    place: Place = before_the_mouth
    own_skin: bool = False
    """True for drawings that take the colour of the face's skin, as hands do."""

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


def artwork(
    name: str,
    draw: Draw,
    colours: Sequence[Colour],
    patterns: Sequence[Pattern] = PLAIN,
    *,
    down: float = 1.9,
    rigid: bool = False,
    place: Place = before_the_mouth,
    own_skin: bool = False,
) -> Artwork:
    """Return a drawing with its styles for training and those held out for testing, which share nothing.

    Args:
        name: of the occluder; it seeds the styles.
        draw: `(canvas, colour, shape, pattern, random)` draws on the canvas, whose middle is the middle of the box.
        colours: RGB in [0, 1]; each style varies one of them.
        patterns: cloth that `draw` is given, each with the same probability.
        down, rigid, place, own_skin: see `Artwork`.
    """
    train, test = (_styles(name, split, colours, patterns) for split in (0, 1))
    return Artwork(draw, train, test, down, rigid, place, own_skin)


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


def _own(name: str, draw: Draw, colours: Sequence[Colour], patterns: Sequence[Pattern] = PLAIN, **how: Any) -> None:
    @register_occluder(name)
    def build() -> Artwork:
        return artwork(name, draw, colours, patterns, **how)


_own("surgical", masks.surgical, MEDICAL, PLEATED)
_own("cloth", masks.cloth_mask, CLOTH, PRINTS)
_own("ffp2", masks.ffp2, STIFF)
_own("veil", fabrics.veil, VEILS, down=4.0)
_own("niqab", fabrics.niqab, VEILS, down=4.0)
_own("sunglasses", eyewear.sunglasses, LENSES, rigid=True, place=at_the_eyes)
_own("eyeglasses", eyewear.eyeglasses, FRAMES, rigid=True, place=at_the_eyes)
_own("scarf", fabrics.scarf, CLOTH, WOVEN, down=4.0)
_own("hand", held.hand, held.SKINS, down=2.6, place=held_by_hand, own_skin=True)
_own("phone", held.phone, THINGS, rigid=True, place=held_at_the_ear)
_own("microphone", held.microphone, THINGS, down=2.6, rigid=True, place=held_at_the_mouth)
_own("hat", head.hat, CLOTH, WOVEN, place=above_the_eyes)
_own("hair", head.hair, HAIRS, down=4.0, place=on_the_forehead)


@cache
def artwork_of(name: str) -> Artwork:
    """Return the drawing that is registered as `name`, made once.

    Raises:
        ConfigError: there is none; the nearest is suggested.
    """
    found: Artwork = OCCLUDERS.get(name)()
    return found


def paint(artwork: Artwork, style: Style, u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Opacity [h, w] and colour [h, w, 3] multiplied by it, in [0, 1], of a drawing on the grid of u [w], v [h]."""
    canvas = Canvas(u, v)
    artwork.draw(canvas, style.colour, style.shape, style.pattern, np.random.default_rng(style.seed))
    opacity = np.clip(canvas.opacity, 0, 1)
    return opacity, np.minimum(np.clip(canvas.colour, 0, 1), opacity[..., None])
