"""People who are drawn: what stays the same in all pictures of a person."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]
"""float32 throughout; formulas with Python numbers keep it."""


@dataclass(frozen=True)
class Identities:
    """The lasting look of people. Arrays are [identities] or [identities, 3] (RGB in [0, 1])."""

    skin: Floats
    hair: Floats
    iris: Floats
    lips: Floats
    width: Floats
    height: Floats
    squareness: Floats
    eye_spread: Floats
    eye_width: Floats
    eye_height: Floats
    eye_tilt: Floats
    brow_height: Floats
    brow_thickness: Floats
    brow_tilt: Floats
    nose_length: Floats
    nose_width: Floats
    mouth_width: Floats
    lip_thickness: Floats
    hairline: Floats
    fringe: Floats
    hair_volume: Floats
    hair_length: Floats
    beard: Floats
    glasses: Floats
    glasses_size: Floats
    spot: Floats
    """[identities, 2]: where a mole is."""

    def __len__(self) -> int:
        return len(self.width)

    def of(self, which: NDArray[np.integer]) -> Identities:
        """Return the people with the numbers `which`."""
        return Identities(**{f.name: getattr(self, f.name)[which] for f in fields(self)})


def draw_identities(count: int, generator: np.random.Generator) -> Identities:
    """Draw `count` people."""

    def between(low: float, high: float) -> Floats:
        return generator.uniform(low, high, count).astype(np.float32)

    def mixed(*colours: tuple[float, float, float]) -> Floats:
        weights = generator.dirichlet(np.full(len(colours), 0.5), count)
        result: Floats = np.clip(weights @ np.array(colours) + generator.normal(0, 0.03, (count, 3)), 0, 1).astype(
            np.float32
        )
        return result

    return Identities(
        skin=mixed((0.96, 0.82, 0.72), (0.87, 0.67, 0.52), (0.62, 0.43, 0.31), (0.36, 0.23, 0.17)),
        hair=mixed((0.08, 0.06, 0.05), (0.32, 0.19, 0.10), (0.80, 0.64, 0.36), (0.58, 0.25, 0.12), (0.62, 0.62, 0.62)),
        iris=mixed((0.25, 0.14, 0.07), (0.30, 0.45, 0.60), (0.30, 0.45, 0.25), (0.10, 0.07, 0.05)),
        lips=mixed((0.75, 0.40, 0.40), (0.60, 0.28, 0.28), (0.85, 0.55, 0.52), (0.45, 0.25, 0.22)),
        width=between(33, 43),
        height=between(45, 54),
        squareness=between(1.8, 3.4),
        eye_spread=between(-3.0, 3.0),
        eye_width=between(5.0, 8.5),
        eye_height=between(2.2, 4.6),
        eye_tilt=between(-0.25, 0.25),
        brow_height=between(7.0, 12.5),
        brow_thickness=between(0.8, 3.2),
        brow_tilt=between(-0.25, 0.25),
        nose_length=between(-4.0, 4.0),
        nose_width=between(3.5, 8.5),
        mouth_width=between(-4.0, 4.0),
        lip_thickness=between(1.8, 5.0),
        hairline=between(16, 34),
        fringe=between(-0.5, 0.5),
        hair_volume=between(2, 14),
        hair_length=between(20, 120),
        beard=(generator.random(count) < 0.25).astype(np.float32) * between(0.3, 0.9),
        glasses=(generator.random(count) < 0.2).astype(np.float32),
        glasses_size=between(8.5, 12.5),
        spot=np.stack([between(36, 76), between(60, 100)], 1),
    )
