"""Where things are worn: a frame on the face, from its own landmarks, for each kind of occluder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

JITTER, SHIFT, TURN = 3.0, 5.0, 7.0
"""Random changes of the specification's medical mask: pixels per point, pixels of the whole, degrees; each ±."""
SCALE = (0.95, 1.10)
RAISED = 25.0
"""Pixels that a drawn mask's box stands above the mouth, and a user's own picture above the nose."""

Point = tuple[float, float]
Worn = Literal["eyes", "mask", "scarf", "hat"]
WORN: dict[str, Worn] = {
    **dict.fromkeys(("glasses", "sunglasses", "eyeglasses"), "eyes"),
    **dict.fromkeys(("mask", "masks"), "mask"),
    **dict.fromkeys(("scarf", "scarves", "veil"), "scarf"),
    **dict.fromkeys(("hat", "hats"), "hat"),
}
"""Places that cut-outs are worn at, by the name of their folder; others lie anywhere."""


class Draws:
    """Uniform random numbers from a torch generator, drawn many at a time."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator
        self._numbers: Iterator[float] = iter(())

    def between(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        number = next(self._numbers, None)
        if number is None:
            self._numbers = iter(torch.rand(48, generator=self._generator).tolist())
            number = next(self._numbers)
        return low + (high - low) * number

    def many(self, count: int) -> Tensor:
        """Return numbers [count] in [0, 1)."""
        return torch.rand(count, generator=self._generator)

    def below(self, count: int) -> int:
        """Return a whole number in [0, count)."""
        return min(int(self.between(0, count)), count - 1)


class Frame(NamedTuple):
    """The place of a pasted picture: its middle, and the vectors of its half width and half height, in pixels."""

    x: float
    y: float
    across: Point
    down: Point

    @classmethod
    def turned(cls, middle: Point, half_width: float, half_height: float, turn: float) -> Frame:
        """Return a box that stands at right angles, turned by radians."""
        cos, sin = math.cos(turn), math.sin(turn)
        return cls(*middle, (cos * half_width, sin * half_width), (-sin * half_height, cos * half_height))

    @property
    def half_width(self) -> float:
        return max(math.hypot(*self.across), 1.0)

    @property
    def half_height(self) -> float:
        return max(math.hypot(*self.down), 1.0)


class FacePoints(NamedTuple):
    """Landmarks, each moved a little, and the size of a template's pixel."""

    left_eye: Point
    right_eye: Point
    nose: Point
    left_mouth: Point
    right_mouth: Point
    unit: float

    @property
    def eyes(self) -> Point:
        return middle(self.left_eye, self.right_eye)

    @property
    def mouth(self) -> Point:
        return middle(self.left_mouth, self.right_mouth)

    @property
    def spread(self) -> float:
        """Distance between the eyes, in pixels."""
        return math.dist(self.left_eye, self.right_eye)

    @property
    def tilt(self) -> float:
        """Turn of the eyes' line, in radians."""
        return math.atan2(self.right_eye[1] - self.left_eye[1], self.right_eye[0] - self.left_eye[0])


def middle(one: Point, other: Point) -> Point:
    return (one[0] + other[0]) / 2, (one[1] + other[1]) / 2


def moved(points: NDArray[np.float32], unit: float, draws: Draws, jitter: float = JITTER) -> FacePoints:
    """Landmarks [5, 2], each moved by up to ± `jitter` pixels of the template in x and y."""
    reach = jitter * unit
    places = [(x + draws.between(-reach, reach), y + draws.between(-reach, reach)) for x, y in points.tolist()]
    left_eye, right_eye, nose, left_mouth, right_mouth = places
    return FacePoints(left_eye, right_eye, nose, left_mouth, right_mouth, unit)


class Placing(NamedTuple):
    """A face's landmarks, and how far a drawing on it is from where the middle of its kind is worn."""

    face: FacePoints
    scale: float
    shift: Point
    """In pixels."""
    turn: float
    """In radians."""
    draws: Draws
    """Source of whatever else is random in the place."""

    @classmethod
    def drawn(cls, face: FacePoints, draws: Draws) -> Placing:
        """Draw a placing: ± 5 % in size, ± 5 px of the template and ± 7°."""
        scale = draws.between(*SCALE)
        shift = draws.between(-SHIFT, SHIFT) * face.unit, draws.between(-SHIFT, SHIFT) * face.unit
        return cls(face, scale, shift, math.radians(draws.between(-TURN, TURN)), draws)

    def box(self) -> tuple[float, float]:
        """Return half width and half height of the specification's medical mask."""
        face = self.face
        wide = 2 * math.dist(face.left_mouth, face.right_mouth) * self.scale
        return wide, 2 * math.dist(face.mouth, face.nose) * self.scale


Place = Callable[[Placing], Frame]


def before_the_mouth(placing: Placing) -> Frame:
    """Return the specification's box of a medical mask; scarves and veils reach beyond it."""
    (x, y), shift = placing.face.mouth, placing.shift
    return Frame.turned((x + shift[0], y - RAISED * placing.face.unit + shift[1]), *placing.box(), placing.turn)


def at_the_eyes(placing: Placing) -> Frame:
    """Return where glasses sit."""
    face, size = placing.face, placing.face.spread * placing.scale
    return Frame.turned(face.eyes, 1.15 * size, 0.42 * size, 0.3 * placing.turn + face.tilt)


def above_the_eyes(placing: Placing, distance: float = 0.98) -> Frame:
    """Return where hats sit: `distance` times that of the eyes above their line."""
    face, size = placing.face, placing.face.spread * placing.scale
    tilt = 0.5 * placing.turn + face.tilt
    x, y = face.eyes[0] + 0.5 * placing.shift[0], face.eyes[1] + 0.4 * placing.shift[1]
    above = distance * size
    return Frame.turned((x + math.sin(tilt) * above, y - math.cos(tilt) * above), 1.36 * size, 0.75 * size, tilt)


def on_the_forehead(placing: Placing) -> Frame:
    """Return where hair hangs from."""
    return above_the_eyes(placing, 0.9)


def held_by_hand(placing: Placing) -> Frame:
    """Return where a hand is: before any part of the face, at any angle that an arm allows."""
    return _held(placing, (0.5, 0.75), aside=3.0, turn=7)


def held_at_the_ear(placing: Placing) -> Frame:
    """Return where a telephone is held."""
    return _held(placing, (0.5, 0.72), aside=4.8, turn=5)


def held_at_the_mouth(placing: Placing) -> Frame:
    """Return where a microphone is held."""
    (x, y), shift, half = placing.face.mouth, placing.shift, 0.55 * sum(placing.box()) / 2
    return Frame.turned((x + 2.1 * shift[0], y + 0.5 * shift[1] + 4 * placing.face.unit), half, half, 4 * placing.turn)


def _held(placing: Placing, share: tuple[float, float], *, aside: float, turn: float) -> Frame:
    (x, y), shift = placing.face.mouth, placing.shift
    half = placing.draws.between(*share) * sum(placing.box()) / 2
    up = 3 * shift[1] - RAISED * placing.face.unit / 2
    return Frame.turned((x + aside * shift[0], y + up), half, half, turn * placing.turn)


def picture_frame(nose: Point, left_mouth: Point, right_mouth: Point, unit: float, draws: Draws) -> Frame:
    """Return the frame in which the specification lays a user's own picture of a mask.

    Its width is four times the mouth's, its height four times that from nose to right mouth corner; turned, its
    highest point lies 25 px above the nose, and its middle below the nose. Points are moved beforehand.
    """
    shift = draws.between(-SHIFT, SHIFT) * unit, draws.between(-SHIFT, SHIFT) * unit
    scale, turn = draws.between(*SCALE), math.radians(draws.between(-TURN, TURN))
    half_width = 2 * math.dist(left_mouth, right_mouth) * scale
    half_height = max(2 * (right_mouth[1] - nose[1]) * scale, unit)
    reach = half_height * math.cos(turn) + half_width * abs(math.sin(turn))
    return Frame.turned((nose[0] + shift[0], nose[1] - RAISED * unit + shift[1] + reach), half_width, half_height, turn)


def cutout_frame(kind: str, face: FacePoints, ratio: float, size: tuple[int, int], draws: Draws) -> Frame:
    """Return the affine frame of a cut-out, from the line of the eyes and the line from the eyes to the mouth.

    Glasses lie on the line of the eyes, 2.05 to 2.35 times their distance wide. Masks reach from the bridge of the nose
    to below the chin, as wide as the jaw. Scarves hang from between nose and mouth. Hats end above the brows. Objects
    are anywhere.

    Args:
        kind: folder of the cut-out.
        face: landmarks, moved a little.
        ratio: height by width of the picture.
        size: height and width of the image.
        draws: of size and place.
    """
    spread, tilt = max(face.spread, 1.0), face.tilt
    right = math.cos(tilt), math.sin(tilt)
    axis = face.mouth[0] - face.eyes[0], face.mouth[1] - face.eyes[1]
    long = max(math.hypot(*axis), 1.0)
    below = axis[0] / long, axis[1] / long

    def at(origin: Point, distance: float, half_width: float, half_height: float) -> Frame:
        """Return a frame whose middle lies so far below `origin` along the face."""
        place = origin[0] + below[0] * distance, origin[1] + below[1] * distance
        across = right[0] * half_width, right[1] * half_width
        return Frame(*place, across, (below[0] * half_height, below[1] * half_height))

    stretch, worn = draws.between(0.95, 1.05), WORN.get(kind)
    if worn == "eyes":
        half = draws.between(1.025, 1.175) * spread
        return at(face.eyes, draws.between(0.02, 0.1) * spread, half, half * ratio * stretch)
    to_nose, to_mouth = 0.49 * long, long
    if worn == "mask":
        top, end = to_nose * draws.between(0.28, 0.42), to_mouth + draws.between(0.95, 1.15) * 0.51 * long
        # A turned head shows the nose aside of the middle, and the mask with it.
        aside = 0.4 * (face.nose[0] - face.eyes[0] - below[0] * to_nose)
        start = face.eyes[0] + aside, face.eyes[1]
        return at(start, (top + end) / 2, draws.between(1.05, 1.175) * spread, (end - top) / 2)
    if worn == "scarf":
        top = to_nose + draws.between(0.2, 0.6) * (to_mouth - to_nose)
        half = draws.between(1.3, 1.5) * spread
        high = max(half * ratio, (size[0] - face.eyes[1] - top) / 2)
        return at(face.eyes, top + high, half, high)
    if worn == "hat":
        half = draws.between(1.25, 1.5) * spread
        high = half * ratio * stretch
        return at(face.eyes, -draws.between(0.35, 0.6) * spread - high, half, high)
    half = draws.between(0.45, 0.75) * spread
    high = half * ratio
    if high > 0.3 * size[0]:
        half, high = half * 0.3 * size[0] / high, 0.3 * size[0]
    place = draws.between(0.25, 0.75) * size[1], draws.between(0.25, 0.75) * size[0]
    return Frame.turned(place, half, high, math.radians(draws.between(-30, 30)))
