"""Other colours and prints for what is laid on a face, so that cover is told from skin by more than a few pictures."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from oaml_core.data.augment.drawings.canvas import Floats
from oaml_core.data.augment.placing import Draws

GRID = (1, 1, 2, 3, 5, 9, 16)
"""Fields of a print, down or across: 1 × 1 is one colour, 1 × n are stripes, the rest are blotches or checks."""
PRINTED, INVERTED = 0.6, 0.25
"""Shares of the dyed things that get a print, and of those whose own colours are inverted."""


class Dye(NamedTuple):
    """New colours of a picture: its own ones mixed anew, then a print over them."""

    mix: Floats
    """float32 [3, 3], applied to red, green and blue."""
    shift: Floats
    """float32 [3], added to them, of 255."""
    fields: Tensor | None
    """float32 [3, rows, columns] of 255: the print, drawn out over the picture's box; None: there is none."""
    mode: Literal["nearest", "bilinear"]
    """Interpolation of the print: checks and stripes with hard edges, or blotches."""
    share: float
    """Share of the print in the colour, in [0, 1]."""


def dye_from(draws: Draws) -> Dye:
    """Draw a dye: any hue, pale to strong, now and then inverted, with or without a print."""
    turn, colourful = draws.between(-math.pi, math.pi), draws.between(0, 1.5)
    contrast, bright = draws.between(0.5, 1.2), draws.between(-70, 70)
    contrast *= -1 if draws.between(0, 1) < INVERTED else 1
    mix = contrast * _turned(turn, colourful)
    shift = np.full(3, 127.5 * (1 - contrast) + bright, np.float32)
    if draws.between(0, 1) >= PRINTED:
        return Dye(mix, shift, None, "nearest", 0.0)
    rows, columns = (GRID[draws.below(len(GRID))] for _ in range(2))
    fields = draws.many(3 * rows * columns).view(3, rows, columns)
    if draws.between(0, 1) < 0.5:  # two colours alone, as most prints have
        one, other = draws.many(3)[:, None, None], draws.many(3)[:, None, None]
        fields = torch.where(fields[:1] < 0.5, one, other)
    mode: Literal["nearest", "bilinear"] = "nearest" if draws.between(0, 1) < 0.5 else "bilinear"
    return Dye(mix, shift, fields * 255, mode, draws.between(0.3, 1))


def dyed(colours: Floats, opacity: Floats, places: Tensor, dye: Dye) -> Floats:
    """Return colours [3, h, w] dyed; both sides are multiplied by opacity, as pictures are kept.

    Args:
        colours: of 255.
        opacity: [h, w] of 255.
        places: [1, 2, h, w], where each pixel lies in the picture, whose sides are at −1 and 1.
    """
    result: Floats = np.tensordot(dye.mix, colours, 1)
    result += dye.shift[:, None, None] * (opacity / np.float32(255))
    if dye.fields is not None:
        spread = functional.grid_sample(
            dye.fields[None], places.permute(0, 2, 3, 1), mode=dye.mode, padding_mode="border", align_corners=False
        )[0].numpy()
        # Folds and edges of the thing stay: the print is as bright as the thing is there.
        light = colours.mean(0)
        level = float(light.sum() / max(float(opacity.sum()), 1.0))
        shade = np.clip(light / max(level, 0.05), 0, 1.5 * opacity)
        result += dye.share * (spread * (shade / np.float32(255)) - result)
    np.clip(result, 0, opacity, out=result)
    return result


def _turned(turn: float, colourful: float) -> Floats:
    """Return the matrix [3, 3] that turns hues by radians about grey, and stretches what differs from grey."""
    grey = np.full((3, 3), 1 / 3)
    root = 1 / math.sqrt(3)
    cross = root * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    about_grey = math.cos(turn) * (np.eye(3) - grey) + math.sin(turn) * cross
    return np.asarray(grey + colourful * about_grey, np.float32)
