"""Drawn faces at 112×112: identities with a lasting look, under varying pose, light, expression and background.

Faces are composed of soft-edged shapes in a face's own coordinates (units of pixels of the standard 112×112 template),
which pose carries to the image. They stand in for photographs where none may be shipped: demos and tests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oaml_core.data.sources.drawn_people import Floats, Identities

SIZE = 112
CENTRE = (56.0, 66.0)
"""Middle of the drawn head."""
EYES_Y, NOSE_Y, MOUTH_Y = 51.6, 71.74, 92.3
"""Rows of the standard template of aligned faces; eyes at x = 38.29 and 73.53, mouth corners at 41.55 and 70.73."""
EYE_SPREAD, MOUTH_SPREAD = 17.62, 14.6
BLOCK = 8
"""Faces that are drawn at a time: so few that what is computed of them stays in the processor's cache."""


@dataclass(frozen=True)
class DrawnFaces:
    """Drawn faces with their landmarks."""

    images: NDArray[np.uint8]
    """[n, 112, 112, 3] RGB."""
    landmarks: Floats
    """[n, 5, 2] in pixels: left eye, right eye, nose, left and right mouth corner."""


def draw_faces(identities: Identities, which: NDArray[np.integer], generator: np.random.Generator) -> DrawnFaces:
    """Draw one picture for each entry of `which`.

    Args:
        identities: people.
        which: [n], the person in each picture.
        generator: of pose, light, expression, background and noise.
    """
    parts = [_draw(identities.of(which[start : start + BLOCK]), generator) for start in range(0, len(which), BLOCK)]
    return DrawnFaces(np.concatenate([p.images for p in parts]), np.concatenate([p.landmarks for p in parts]))


class _Canvas:
    """Pictures [n, 3, H, W] in [0, 1], painted shape by shape in coordinates that pose has undone."""

    def __init__(self, people: Identities, generator: np.random.Generator) -> None:
        n = len(people)
        self.generator = generator
        angle, scale = self.normal(n, 0.06), 1 + self.normal(n, 0.035)
        self.yaw = np.clip(self.normal(n, 0.45), -1, 1)
        self.nod = np.clip(self.normal(n, 0.4), -1, 1)
        self.shift = self.normal((n, 2), 1.2)
        turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], -1).reshape(n, 2, 2)
        self.forward = (turn * scale[:, None, None]).astype(np.float32)
        inverse = np.linalg.inv(self.forward)
        ys, xs = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
        grid = np.stack([xs - CENTRE[0], ys - CENTRE[1]], -1)[None] - self.shift[:, None, None]
        own = np.einsum("nij,nhwj->nhwi", inverse.astype(np.float32), grid, optimize=True)
        self.x, self.y = own[..., 0] + CENTRE[0], own[..., 1] + CENTRE[1]
        # What lies in the middle of the face turns further than its outline.
        self.inner_x, self.inner_y = self.x - 4.0 * self.yaw[:, None, None], self.y - 2.5 * self.nod[:, None, None]
        self.pixels = np.empty((n, 3, SIZE, SIZE), np.float32)

    def normal(self, shape: int | tuple[int, ...], deviation: float) -> Floats:
        return self.generator.normal(0, deviation, shape).astype(np.float32)

    def paint(self, distance: Floats, colour: Floats, opacity: Floats | float = 1.0, rows: slice = slice(None)) -> None:
        """Cover where `distance` (pixels, negative inside) says with `colour` [n, 3]."""
        alpha = np.clip(0.5 - distance, 0, 1)
        if not isinstance(opacity, float):
            alpha *= opacity[:, None, None]
        elif opacity != 1.0:
            alpha *= opacity
        touched = np.flatnonzero(alpha.any((0, 2)))
        if not len(touched):
            return
        inside = slice(touched[0], touched[-1] + 1)
        part, alpha = self.pixels[:, :, rows][:, :, inside], alpha[:, inside]
        for channel in range(3):
            plane = part[:, channel]
            plane += alpha * (colour[:, channel, None, None] - plane)

    def place(self, x: Floats, y: Floats) -> Floats:
        """Return pixels [n, 2] of a point of the inner face."""
        own = np.stack([x + 4.0 * self.yaw - CENTRE[0], y + 2.5 * self.nod - CENTRE[1]], -1)
        result: Floats = np.einsum("nij,nj->ni", self.forward, own) + np.array(CENTRE, np.float32) + self.shift
        return result


def _draw(people: Identities, generator: np.random.Generator) -> DrawnFaces:
    canvas = _Canvas(people, generator)
    _background(canvas, people)
    _head(canvas, people)
    _eyes(canvas, people)
    _nose(canvas, people)
    mouth_y, mouth_spread = _mouth(canvas, people)
    _hair(canvas, people)
    _glasses(canvas, people)
    n = len(people)
    eyes = EYE_SPREAD + people.eye_spread
    full = np.full(n, 56.0, np.float32)
    landmarks = np.stack(
        [
            canvas.place(full - eyes, np.full(n, EYES_Y, np.float32)),
            canvas.place(full + eyes, np.full(n, EYES_Y, np.float32)),
            canvas.place(full, NOSE_Y + people.nose_length),
            canvas.place(full - mouth_spread, mouth_y),
            canvas.place(full + mouth_spread, mouth_y),
        ],
        axis=1,
    )
    return DrawnFaces(_photographed(canvas), landmarks.astype(np.float32))


def _background(canvas: _Canvas, people: Identities) -> None:
    n = len(people)
    colours = canvas.generator.uniform(0, 1, (n, 2, 3)).astype(np.float32)
    angle = canvas.generator.uniform(0, 2 * np.pi, n).astype(np.float32)
    across = (np.cos(angle)[:, None, None] * canvas.x + np.sin(angle)[:, None, None] * canvas.y) / 56 - 1
    ramp = 1 / (1 + np.exp(-canvas.generator.uniform(0.5, 6, n).astype(np.float32)[:, None, None] * across))
    canvas.pixels[:] = colours[:, 0, :, None, None]
    canvas.pixels += ramp[:, None] * (colours[:, 1] - colours[:, 0])[..., None, None]
    volume = people.hair_volume[:, None, None]
    back = _ellipse(canvas.x, canvas.y, CENTRE[0], 58, people.width[:, None, None] + volume, 48 + volume)
    below = canvas.y - (40 + people.hair_length)[:, None, None]
    canvas.paint(np.maximum(back, below), people.hair * 0.8)
    neck = np.maximum(np.abs(canvas.x - CENTRE[0]) - 0.55 * people.width[:, None, None], 85 - canvas.y)
    canvas.paint(neck, people.skin * 0.8)


def _head(canvas: _Canvas, people: Identities) -> None:
    wide, high = people.width[:, None, None], people.height[:, None, None]
    u, v = np.abs(canvas.x - CENTRE[0]) / wide, np.abs(canvas.y - CENTRE[1]) / high
    power = np.where(canvas.y > CENTRE[1], people.squareness[:, None, None], np.float32(2.0))
    radius = (u**power + v**power) ** (1 / power)
    outline = (radius - 1) * np.minimum(wide, high)
    canvas.paint(outline, people.skin)
    # Light from the side and from above: a shading that follows the head's roundness.
    light = canvas.normal((len(people), 2), 0.22)
    slope = light[:, :1, None] * (canvas.x - CENTRE[0]) / wide + light[:, 1:, None] * (canvas.y - CENTRE[1]) / high
    shade = np.clip(1 + slope - 0.18 * np.minimum(radius, 1.2) ** 4, 0.3, 1.5)
    canvas.pixels *= np.where(outline < 1, shade, 1)[:, None]
    chin = _ellipse(canvas.inner_x, canvas.inner_y, CENTRE[0], 98, 0.72 * wide, 22)
    mouth = _ellipse(canvas.inner_x, canvas.inner_y, CENTRE[0], 92, 12, 6)
    beard = np.maximum(np.maximum(chin, -mouth), outline) / 3
    canvas.paint(beard, people.hair, people.beard)
    spot = _ellipse(canvas.inner_x, canvas.inner_y, people.spot[:, :1, None], people.spot[:, 1:, None], 1.6, 1.6)
    canvas.paint(spot, people.skin * 0.4)


def _eyes(canvas: _Canvas, people: Identities) -> None:
    rows = slice(26, 72)
    x, y = canvas.inner_x[:, rows], canvas.inner_y[:, rows]
    n = len(people)
    openness = np.clip(1 + canvas.normal(n, 0.2), 0.25, 1.4)[:, None, None]
    gaze = canvas.normal((n, 2), 0.9)[..., None, None]
    raised = canvas.normal(n, 0.9)[:, None, None]
    white, black = np.full((n, 3), 0.93, np.float32), np.full((n, 3), 0.05, np.float32)
    wide, high = people.eye_width[:, None, None], people.eye_height[:, None, None] * openness
    for side in (-1, 1):
        centre = CENTRE[0] + side * (EYE_SPREAD + people.eye_spread)[:, None, None]
        tilt = side * people.eye_tilt[:, None, None]
        tilted = y + tilt * (x - centre)
        lid = _ellipse(x, tilted, centre, EYES_Y, wide, high)
        canvas.paint((lid - 1.4) / 1.5, people.skin * 0.55, rows=rows)
        canvas.paint(lid, white, rows=rows)
        iris = _ellipse(x, y, centre + gaze[:, 0], EYES_Y + 0.4 * gaze[:, 1], 3.4, 3.4)
        canvas.paint(np.maximum(iris, lid), people.iris, rows=rows)
        canvas.paint(np.maximum(iris + 1.9, lid), black, rows=rows)
        brow_y = EYES_Y - people.brow_height[:, None, None] - raised
        arch = brow_y + 0.018 * (x - centre) ** 2 + side * people.brow_tilt[:, None, None] * (x - centre)
        thick = people.brow_thickness[:, None, None]
        canvas.paint(
            np.maximum(np.abs(y - arch) - thick, np.abs(x - centre) - 9.5) / 1.2, people.hair * 0.75, rows=rows
        )


def _nose(canvas: _Canvas, people: Identities) -> None:
    rows = slice(46, 90)
    x, y = canvas.inner_x[:, rows], canvas.inner_y[:, rows]
    tip = (NOSE_Y + people.nose_length)[:, None, None]
    wide = people.nose_width[:, None, None]
    along = np.clip((y - 52) / (tip - 52), 0, 1)
    bridge = np.abs(x - CENTRE[0] - 0.35 * wide * along) - 1.1
    canvas.paint(np.maximum(bridge, np.maximum(52 - y, y - tip)) / 2.5, people.skin * 0.72, 0.6, rows)
    canvas.paint(_ellipse(x, y, CENTRE[0], tip - 1, wide, 3.6) / 2, people.skin * 0.9, 0.7, rows)
    for side in (-1, 1):
        nostril = _ellipse(x, y, CENTRE[0] + side * 0.5 * wide, tip + 1.4, 1.7, 1.1)
        canvas.paint(nostril, people.skin * 0.35, rows=rows)


def _mouth(canvas: _Canvas, people: Identities) -> tuple[Floats, Floats]:
    """Draws it; row and half-width of its corners."""
    rows = slice(76, 112)
    x, y = canvas.inner_x[:, rows], canvas.inner_y[:, rows]
    n = len(people)
    smile, opening = canvas.normal(n, 0.5), np.clip(canvas.normal(n, 1.6), 0, 4)
    spread = MOUTH_SPREAD + people.mouth_width + 1.2 * smile
    wide, thick = spread[:, None, None], people.lip_thickness[:, None, None]
    curve = MOUTH_Y + smile[:, None, None] * 3 * (0.5 - ((x - CENTRE[0]) / wide) ** 2)
    lips = _ellipse(x, y, CENTRE[0], curve, wide, thick + 0.6 * opening[:, None, None])
    canvas.paint(lips, people.lips, rows=rows)
    inside = np.broadcast_to(np.array([0.25, 0.08, 0.08], np.float32), (n, 3))
    gap = _ellipse(x, y, CENTRE[0], curve, 0.82 * wide, 0.5 + 0.7 * opening[:, None, None])
    canvas.paint(gap, inside, rows=rows)
    return MOUTH_Y - 1.5 * smile, spread


def _hair(canvas: _Canvas, people: Identities) -> None:
    rows = slice(0, 60)
    x, y = canvas.x[:, rows], canvas.y[:, rows]
    volume = people.hair_volume[:, None, None]
    cap = _ellipse(x, y, CENTRE[0], 60, people.width[:, None, None] + 0.5 * volume, 52 + 0.5 * volume)
    line = people.hairline[:, None, None] + people.fringe[:, None, None] * (x - CENTRE[0])
    line = line + 0.008 * (x - CENTRE[0]) ** 2
    canvas.paint(np.maximum(cap, y - line) / 1.5, people.hair, rows=rows)


def _glasses(canvas: _Canvas, people: Identities) -> None:
    rows = slice(34, 72)
    x, y = canvas.inner_x[:, rows], canvas.inner_y[:, rows]
    size = people.glasses_size[:, None, None]
    frame = np.full((len(people), 3), 0.08, np.float32)
    for side in (-1, 1):
        centre = CENTRE[0] + side * (EYE_SPREAD + people.eye_spread)[:, None, None]
        ring = np.abs(_ellipse(x, y, centre, EYES_Y + 1, size, 0.85 * size)) - 0.9
        canvas.paint(ring, frame, people.glasses, rows)
    bridge = np.maximum(np.abs(y - EYES_Y) - 0.8, np.abs(x - CENTRE[0]) - 6)
    canvas.paint(bridge, frame, people.glasses, rows)


def _photographed(canvas: _Canvas) -> NDArray[np.uint8]:
    """Exposure, colour cast, a little blur and noise."""
    n = len(canvas.pixels)
    gain = np.exp(canvas.normal(n, 0.18))[:, None, None, None] * np.exp(canvas.normal((n, 3, 1, 1), 0.05))
    pixels = canvas.pixels
    pixels *= gain
    pixels += canvas.normal((n, 1, 1, 1), 0.03)
    soft = canvas.generator.uniform(0, 0.5, (n, 1, 1, 1)).astype(np.float32)
    around = pixels[..., :-2, 1:-1] + pixels[..., 2:, 1:-1]
    around += pixels[..., 1:-1, :-2]
    around += pixels[..., 1:-1, 2:]
    around *= 0.25
    around -= pixels[..., 1:-1, 1:-1]
    around *= soft
    pixels[..., 1:-1, 1:-1] += around
    noisy = canvas.generator.standard_normal((n, SIZE, SIZE, 3), np.float32)
    noisy *= 0.02
    noisy += pixels.transpose(0, 2, 3, 1)
    return (np.clip(noisy, 0, 1, out=noisy) * 255 + 0.5).astype(np.uint8)


def _ellipse(
    x: Floats, y: Floats, cx: Floats | float, cy: Floats | float, rx: Floats | float, ry: Floats | float
) -> Floats:
    """Approximate signed distance in pixels to an ellipse, negative inside."""
    radius = np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2)
    return (radius - 1) * np.minimum(rx, ry)
