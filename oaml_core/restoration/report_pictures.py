"""Restored tiles in the report: a slider between measured and restored, uncertainty and truth beside it."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import numpy as np
from torch import Tensor

from oaml_core.evaluation.report.pictures import jpeg_uri
from oaml_core.restoration.evaluate import COVERED, Picture
from oaml_core.restoration.face_tiles import to_image

BRIGHTEST = 0.3
"""Deviation that uncertainty shows white, as a share of the range from black to white."""
QUALITY = 92
"""JPEG quality of the pictures."""


def compared_pictures(pictures: Iterable[Picture]) -> str:
    """Return the pictures as HTML.

    Sliders are plain range inputs. The script of `compare.js` moves the edge; without it the edge stays in the middle.

    Args:
        pictures: of `evaluate_tiles`.
    """
    rows = "".join(_row(number, picture) for number, picture in enumerate(pictures, 1))
    return (
        '<p class="note">Drag a slider, or give it the focus and use the arrow keys: left of the edge the tile as '
        "measured, right of it as restored. Uncertainty is the posterior's deviation; white means "
        f"{BRIGHTEST:g} of the range from black to white, or more. “{COVERED}” hides the middle third.</p>"
        f'<div class="compared">{rows}</div>'
    )


def uncertainty_tile(deviation: Tensor) -> Tensor:
    """Return a deviation [C, H, W] in units of tiles as a grey tile in [-1, 1]: black 0, white `BRIGHTEST` or more."""
    share = (deviation.nan_to_num(0).mean(0, keepdim=True) / 2 / BRIGHTEST).clamp(0, 1)
    return (share * 2 - 1).expand(3, -1, -1)


def _row(number: int, picture: Picture) -> str:
    name = f"tile {number}, {picture.condition}"
    measured, restored = (_image(tile, name) for tile in (picture.observed, picture.restored))
    beside = "".join(
        f"<figure><figcaption>{said}</figcaption>{_image(tile, f'{name}: {said}')}</figure>"
        for said, tile in (("Uncertainty", uncertainty_tile(picture.deviation)), ("Truth", picture.truth))
    )
    return (
        f'<div class="row"><h3>{escape(picture.condition)}</h3><figure class="pair">'
        "<figcaption><span>Measured</span><span>Restored</span></figcaption>"
        f'<div class="stack">{restored}<div class="over">{measured}</div></div>'
        f'<input type="range" min="0" max="100" value="50" aria-label="Share of {escape(name)} shown as measured">'
        f"</figure>{beside}</div>"
    )


def _image(tile: Tensor, name: str) -> str:
    image: np.ndarray = to_image(tile)
    return f'<img src="{jpeg_uri(image, QUALITY)}" width="150" height="150" alt="{escape(name)}">'
