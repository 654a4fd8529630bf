"""Shapes of a published recogniser's graph: how it takes the image, and which output is the embedding.

A length is 0 where the graph does not state it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

OPEN_SIDE = 112
"""Pixels of a face where the graph does not say."""


def image_layout(shape: Sequence[int]) -> tuple[bool, Sequence[int]] | None:
    """Return whether the colours are planes, and height and width; None for what is no RGB image.

    Args:
        shape: of an input, [N, 3, H, W] or [N, H, W, 3].
    """
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        return None
    planes = shape[1] == 3
    return planes, shape[2:] if planes else shape[1:3]


def square_side(sides: Sequence[int]) -> int | None:
    """Return the side of a square image from height and width: `OPEN_SIDE` if none is stated, None if they differ."""
    stated = {*sides} - {0}
    return max(stated, default=OPEN_SIDE) if len(stated) < 2 else None


def widest_vector(shapes: Mapping[str, Sequence[float]]) -> tuple[str, float] | None:
    """Return name and width of the widest output with one vector per image; None if none has two numbers or more.

    Args:
        shapes: of the outputs by name, [N, E], also with axes of 1 behind them.
    """
    widths = {name: shape[1] for name, shape in shapes.items() if len(shape) >= 2 and {*shape[2:]} <= {1}}
    found = max(widths.items(), key=lambda item: item[1], default=("", 0.0))
    return found if found[1] >= 2 else None
