"""Laying a picture on a face: by its opacity, in the face's light, with a shadow beside it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from oaml_core.data.augment.drawings.canvas import Floats
from oaml_core.data.augment.dye import Dye, dye_from, dyed
from oaml_core.data.augment.occluder_artwork_raster import Raster
from oaml_core.data.augment.placing import Draws, Frame

SHADED = 4
"""Side in pixels of the places that shadows are computed for."""


KNOTS = 4
"""Places down and across at which cloth is pulled out of shape."""
SHADOW_PROB = 0.7
"""Chance of a shadow under an occluder that looks natural."""


class Look(NamedTuple):
    """The adaptation of a picture to its surroundings."""

    light: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factors of red, green and blue."""
    slope: float = 0.0
    """How much brighter the light is at the right edge of the image than in the middle."""
    shadow: float = 0.0
    """Share of the light that the face loses right beside it."""
    fall: tuple[int, int] = (0, 0)
    """Right and down: where the shadow falls, in places of 4 × 4 pixels."""
    bend: Tensor | None = None
    """float32 [2, n, n]: how far the picture is pulled out of shape, in units of its box; None: not at all."""
    dye: Dye | None = None
    """Colours and a print of another thing of the kind; None: the picture's own."""


def look_on(
    pixels: NDArray[np.uint8],
    draws: Draws,
    *,
    own_skin: bool,
    bends: bool,
    shadow_prob: float = SHADOW_PROB,
    dye_prob: float = 0.0,
) -> Look:
    """Return a look that suits a face: as bright as it is, lit from the same side, at times with a shadow.

    Args:
        pixels: uint8 [3, H, W].
        draws: of everything random.
        own_skin: take on the face's colour too, as the person's own hand does.
        bends: whether it may be pulled out of shape.
        shadow_prob: probability of a shadow, in [0, 1].
        dye_prob: probability of other colours, in [0, 1]; the person's own skin keeps its own.
    """
    height, width = pixels.shape[1:]
    columns = pixels[:, height // 4 :: 7, width // 5 : width - width // 5 : 7].mean(1, dtype=np.float32)
    half = max(1, columns.shape[1] // 2)
    colour = columns.mean(1) + 1
    luma = float(colour.mean())
    left, right = float(columns[:, :half].mean()) + 1, float(columns[:, -half:].mean()) + 1
    level = min(max((luma / 120) ** 0.7, 0.45), 1.3) * draws.between(0.8, 1.15)
    cast = colour / luma
    share = 0.8 if own_skin else 0.12
    red, green, blue = (level * (1 + share * (cast - 1))).tolist()
    slope = min(max(0.7 * (right - left) / (right + left), -0.3), 0.3)
    depth, falls = draws.between(0.1, 0.5), draws.between(0, 1) < shadow_prob
    fall = draws.below(3) - 1, draws.below(2)
    bend = draws.many(2 * KNOTS * KNOTS).view(2, KNOTS, KNOTS).mul_(0.1).sub_(0.05) if bends else None
    # Nothing is drawn where nothing is dyed, so that recipes without it make the pictures that they made before.
    dye = dye_from(draws) if dye_prob > 0 and not own_skin and draws.between(0, 1) < dye_prob else None
    return Look((red, green, blue), slope, depth if falls else 0.0, fall, bend, dye)


def paste(pixels: NDArray[np.uint8], visible: Floats, frame: Frame, picture: Raster, look: Look) -> None:
    """Lay a picture over `pixels` [3, H, W] by its opacity, which `visible` [H, W] loses; in place.

    Shadows darken pixels that stay visible.
    """
    height, width = visible.shape
    inverse = _inverse(frame)
    if inverse is None:
        return
    corners = [
        (frame.x + u * frame.across[0] + v * frame.down[0], frame.y + u * frame.across[1] + v * frame.down[1])
        for u in (picture.left, picture.right)
        for v in (picture.top, picture.bottom)
    ]
    around = 0.0 if look.bend is None else 0.06 * max(frame.half_width, frame.half_height)
    x0, x1 = _span([x for x, _ in corners], width, around)
    y0, y1 = _span([y for _, y in corners], height, around)
    if x0 >= x1 or y0 >= y1:
        return
    # Each pixel of the result looks up a place in the picture, whose sides are at -1 and 1. Such places change evenly,
    # so they are computed at a few knots, where the bend is added, and interpolated.
    places = functional.interpolate(
        _knots((x0, x1 - 1, y0, y1 - 1), frame, inverse, picture, look.bend)[None],
        (y1 - y0, x1 - x0),
        mode="bilinear",
        align_corners=True,
    )
    sampled = functional.grid_sample(picture.image.float(), places.permute(0, 2, 3, 1), align_corners=False)[0].numpy()
    opacity = sampled[3]
    colours = sampled[:3] if look.dye is None else dyed(sampled[:3], opacity, places, look.dye)
    shown = opacity * np.float32(-1 / 255)
    shown += 1
    np.maximum(shown, 0, out=shown)  # interpolation rounds up too
    if look.shadow > 0:
        _darken(pixels, (y0, y1, x0, x1), shown, look)
    slope = 1 + look.slope * (2 * np.arange(x0, x1, dtype=np.float32) / width - 1)
    for plane, colour, light in zip(pixels[:, y0:y1, x0:x1], colours, look.light, strict=True):
        colour *= slope * np.float32(light)
        np.minimum(colour, opacity, out=colour)
        colour += 0.5
        colour += plane * shown
        plane[:] = colour
    visible[y0:y1, x0:x1] *= shown


def _knots(
    region: tuple[int, int, int, int],
    frame: Frame,
    inverse: tuple[tuple[float, float], tuple[float, float]],
    picture: Raster,
    bend: Tensor | None,
) -> Tensor:
    """Return places [2, n, n] in the picture, in [-1, 1], of a grid of pixels from (left, top) to (right, bottom)."""
    left, right, top, bottom = region
    count = 2 if bend is None else KNOTS
    to_u, to_v = 2 / (picture.right - picture.left), 2 / (picture.bottom - picture.top)
    (a, b), (c, d) = inverse
    x = np.linspace(left - frame.x, right - frame.x, count)
    y = np.linspace(top - frame.y, bottom - frame.y, count)[:, None]
    u, v = a * x + b * y, c * x + d * y
    if bend is not None:
        u, v = u + bend[0].numpy(), v + bend[1].numpy()
    places = np.stack([to_u * (u - picture.left) - 1, to_v * (v - picture.top) - 1])
    return torch.from_numpy(places.astype(np.float32))


def _darken(pixels: NDArray[np.uint8], region: tuple[int, int, int, int], shown: Floats, look: Look) -> None:
    """A soft shadow of the picture on what is below it and beside it; in place."""
    height, width = pixels.shape[1:]
    y0, y1, x0, x1 = region
    opacity = torch.zeros(1, 1, height, width)
    opacity[0, 0, y0:y1, x0:x1] = torch.from_numpy(1 - shown)
    side = max(1, SHADED * height // 112)
    coarse = functional.avg_pool2d(opacity, side)
    coarse = functional.avg_pool2d(coarse, 5, 1, 2)
    rows, columns = coarse.shape[2:]
    right, down = look.fall
    coarse = functional.pad(coarse, (1, 1, 1, 1))[:, :, 1 - down : 1 - down + rows, 1 - right : 1 - right + columns]
    soft = functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)[0, 0]
    factor = (1 - look.shadow * soft).numpy()
    np.multiply(pixels, factor, out=pixels, casting="unsafe")


def _inverse(frame: Frame) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Return rows of the matrix from pixels to box units; None where the frame has no area."""
    (a, c), (b, d) = frame.across, frame.down
    area = a * d - b * c
    if abs(area) < 1e-3:
        return None
    return (d / area, -b / area), (-c / area, a / area)


def _span(places: list[float], size: int, around: float) -> tuple[int, int]:
    """First pixel, and the one after the last, that such places reach in an image of `size` pixels."""
    return max(0, math.floor(min(places) - around) - 1), min(size, math.ceil(max(places) + around) + 2)
