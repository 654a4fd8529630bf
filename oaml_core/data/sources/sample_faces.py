"""A few drawn people to try the commands on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from oaml_core.data.sources.drawn_people import draw_identities
from oaml_core.data.sources.synthetic_faces import draw_faces

PEOPLE, PICTURES = 4, 3
SEED = 20_011
"""Seed of people whom no training draws: no data set has it."""


def write_sample_faces(folder: Path, size: int = 112) -> Path:
    """Write aligned faces of drawn people, one folder per person: `person1/1.png` and so on.

    Args:
        folder: where to; files that are there are written again.
        size: side of the faces in pixels.

    Returns:
        `folder`.
    """
    generator = np.random.default_rng(SEED)
    drawn = draw_faces(draw_identities(PEOPLE, generator), np.repeat(np.arange(PEOPLE), PICTURES), generator)
    for number, face in enumerate(drawn.images):
        person, picture = divmod(number, PICTURES)
        path = folder / f"person{person + 1}" / f"{picture + 1}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).resize((size, size), Image.Resampling.LANCZOS).save(path)
    return folder
