"""A compared pair as an inline SVG: both faces, their visibility maps, and lines between what corresponds."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oaml_core.amounts import amount
from oaml_core.evaluation.scoring.compared_pair import ComparedPair
from oaml_core.inference.compared_pair import MATCH_COLOURS, centre_of

GAP = 0.25
"""Space between the two faces, in face widths."""
SIDE = 200.0
"""Face width in view-box units."""
OPACITIES = 20
"""Steps from visible to hidden that pictures tell apart."""


def pair_svg(pair: ComparedPair, kind: str) -> str:
    """Return the pair side by side; classes `hidden` (taken for covered) and `match` (lines) carry the style.

    Args:
        pair: what `compare_pair` found.
        kind: `Genuine` or `Impostor`, for the title.
    """
    width = SIDE * (2 + GAP)
    faces = "".join(
        f'<image href="{jpeg_uri(image)}" x="{offset:.0f}" width="{SIDE:.0f}" height="{SIDE:.0f}"/>'
        for image, offset in zip(pair.images, _offsets(), strict=True)
    )
    covers = "".join(
        tile
        for visibility, offset in zip(pair.visibility, _offsets(), strict=True)
        for tile in _tiles(visibility, offset)
    )
    lines = "".join(_lines(pair))
    share = " and ".join(f"{100 * visibility.mean():.0f} %" for visibility in pair.visibility)
    return (
        f'<svg role="img" viewBox="0 0 {width:.0f} {SIDE:.0f}"><title>{kind} pair; '
        f"predicted visible share {share}; {amount(len(pair.correspondences), 'correspondence')}</title>"
        f'<rect class="ground" width="{width:.0f}" height="{SIDE:.0f}"/>'
        f'{faces}<g class="hidden">{covers}</g><g class="matches">{lines}</g></svg>'
    )


def jpeg_uri(image: NDArray[np.uint8], quality: int = 88) -> str:
    """Return an image [H, W, 3] RGB as an address that begins with `data:`."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _offsets() -> tuple[float, float]:
    return 0.0, SIDE * (1 + GAP)


def _tiles(visibility: NDArray[np.float32], offset: float) -> Iterator[str]:
    """Yield a rectangle for each run of equally visible places in a row of the map, the more opaque the less shows."""
    rows, columns = visibility.shape
    height, width = SIDE / rows, SIDE / columns
    steps = np.rint((1.0 - visibility) * OPACITIES).astype(int)
    for row in range(rows):
        starts = np.flatnonzero(np.diff(steps[row], prepend=-1))
        for column, end in zip(starts, [*starts[1:], columns], strict=True):
            if step := steps[row, column]:
                left, long = offset + column * width, (end - column) * width
                yield (
                    f'<rect x="{left:.1f}" y="{row * height:.1f}" width="{long:.1f}" '
                    f'height="{height:.1f}" opacity="{0.6 * step / OPACITIES:.2f}"/>'
                )


def _lines(pair: ComparedPair) -> Iterator[str]:
    first_x, second_x = _offsets()
    for (first, second, strength), colour in zip(pair.correspondences, MATCH_COLOURS, strict=False):
        x1, y1 = centre_of(first, pair.grid)
        x2, y2 = centre_of(second, pair.grid)
        yield (
            f'<g class="match" style="--strength:{strength:.2f};--match:{colour}">'
            f"<title>strength {strength:.2f}</title>"
            f'<line x1="{first_x + x1 * SIDE:.1f}" y1="{y1 * SIDE:.1f}" x2="{second_x + x2 * SIDE:.1f}" '
            f'y2="{y2 * SIDE:.1f}"/><circle cx="{first_x + x1 * SIDE:.1f}" cy="{y1 * SIDE:.1f}" r="4"/>'
            f'<circle cx="{second_x + x2 * SIDE:.1f}" cy="{y2 * SIDE:.1f}" r="4"/></g>'
        )
