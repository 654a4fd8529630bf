"""Clean tiles that may be shared: drawn faces, and photographs of scikit-image, all in the public domain."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from oaml_core.data.sources.drawn_people import draw_identities
from oaml_core.data.sources.synthetic_faces import draw_faces
from oaml_core.restoration.face_tiles import to_tile
from oaml_core.restoration.validation import spread

PHOTOGRAPHS = {
    "astronaut": "NASA, public domain",
    "chelsea": "Stefan van der Walt, CC0",
    "coffee": "Rachel Michetti, CC0",
    "rocket": "SpaceX, public domain",
}
"""Colour photographs of `skimage.data` and their licences, as its documentation states them."""
REDUCTION = 2
"""Photographs are reduced by this factor first: so their noise is small beside that of the measurements."""


def middle(tiles: Tensor, side: int) -> Tensor:
    """Return the middles [N, C, side, side] of tiles."""
    top, left = ((size - side) // 2 for size in tiles.shape[2:])
    return tiles[..., top : top + side, left : left + side]


def drawn_tiles(count: int, side: int) -> Tensor:
    """Return the middles [count, 3, side, side] of faces of as many people, drawn by OAML."""
    generator = np.random.default_rng(0)
    people = draw_identities(count, generator)
    drawn = draw_faces(people, np.arange(count), generator).images
    return middle(to_tile(torch.from_numpy(drawn).permute(0, 3, 1, 2)), side)


def photograph(name: str, reduction: int = REDUCTION) -> Tensor:
    """Return a photograph as float32 [3, H, W] in [-1, 1], means of `reduction` × `reduction` pixels."""
    from skimage import data

    whole = to_tile(torch.from_numpy(getattr(data, name)()).permute(2, 0, 1))[None]
    return functional.avg_pool2d(whole, reduction)[0]


def photograph_tiles(count: int, side: int) -> Tensor:
    """Return `count` tiles [count, 3, side, side] of the photographs in turn, spread over each.

    Args:
        count: number of tiles.
        side: in pixels, of the reduced photographs.
    """
    names = list(PHOTOGRAPHS)
    tiles = []
    for number, name in enumerate(names):
        whole = photograph(name)
        corners = [
            (top, left)
            for top in range(0, whole.shape[1] - side + 1, side)
            for left in range(0, whole.shape[2] - side + 1, side)
        ]
        wanted = len(range(number, count, len(names)))
        # One more than wanted and without the first: corners of photographs are mostly empty.
        chosen = spread(len(corners), wanted + 2)[1:-1][:wanted]
        tiles += [whole[:, top : top + side, left : left + side] for top, left in (corners[i] for i in chosen)]
    return torch.stack(tiles)
