"""What people hold before their faces: hands with fingers, telephones, microphones."""

from __future__ import annotations

import math

import numpy as np

from oaml_core.data.augment.drawings.canvas import Canvas, Floats, curve, wobbled
from oaml_core.data.augment.drawings.materials import Colour, Pattern


def hand(canvas: Canvas, colour: Colour, shape: float, pattern: Pattern, random: np.random.Generator) -> None:
    """The back of a hand with a thumb and two to four fingers, spread or closed, with joints and nails."""
    skin = np.array(colour, np.float32)
    wrist = random.uniform(0.26, 0.36)
    arm = curve(
        wobbled(
            [
                (-wrist, 2.6),
                (-wrist, 1.2),
                (-0.5, 0.55),
                (-0.48, 0.1),
                (0.48, 0.08),
                (0.52, 0.5),
                (wrist, 1.2),
                (wrist, 2.6),
            ],
            random,
            0.03,
        )
    )
    _limb(canvas, canvas.inside(arm), skin, canvas.u / 0.75, random)
    count = 4 if random.random() < 0.75 else int(random.integers(2, 4))
    spread = 0.25 + 0.5 * shape
    for number in range(count):
        place = (number - (count - 1) / 2) / max(count - 1, 1)
        length = random.uniform(0.75, 0.95) - 0.5 * (abs(place) - 0.1) ** 2 * 2
        _finger(canvas, (0.78 * place, 0.2), spread * place, length, 0.115, skin, random)
    lean = random.uniform(-1.15, -0.55)
    _finger(canvas, (-0.42, 0.62), lean, random.uniform(0.55, 0.75), 0.13, skin, random)
    for x in (-0.26, 0.0, 0.26):
        ridge = wobbled([(x, 0.12), (x * 0.9, 0.5)], random, 0.02)
        canvas.shade(1 + 0.05 * canvas.along(ridge, 0.1))


def phone(canvas: Canvas, colour: Colour, shape: float, pattern: Pattern, random: np.random.Generator) -> None:
    """A telephone, its back with lenses or its lit screen to the camera, and fingers at its edge."""
    wide, high, radius = 0.5 + 0.1 * shape, random.uniform(0.95, 1.15), random.uniform(0.06, 0.14)
    body = rounded_box((0, 0), (wide, high), radius)
    covered = canvas.inside(body)
    light = 1 + 0.12 * canvas.u - 0.1 * canvas.v + 0.03 * canvas.clouds(random, 3, 3)
    canvas.lay(covered, np.array(colour, np.float32) * light[..., None])
    canvas.shade(1 - 0.4 * canvas.along(np.concatenate([body, body[:1]]), 0.05), covered)
    if random.random() < 0.4:
        screen = canvas.inside(rounded_box((0, 0), (wide - 0.05, high - 0.07), 0.7 * radius))
        shown = random.uniform(0.1, 0.9, 3) + 0.25 * np.stack([canvas.clouds(random, 4, 3) for _ in range(3)], -1)
        canvas.lay(screen, shown)
    else:
        x, y = random.choice([-1, 1]) * (wide - 0.22), -high + 0.3
        canvas.lay(canvas.inside(rounded_box((x, y), (0.16, 0.2), 0.06)), np.array(colour) * 0.75)
        for down in (-0.09, 0.09):
            canvas.lay(canvas.inside(_circle((x, y + down), 0.065)), (0.04, 0.04, 0.05))
            canvas.lay(canvas.inside(_circle((x - 0.02, y + down - 0.02), 0.018)), (0.6, 0.65, 0.8))
    skin = np.array(SKINS[int(random.integers(len(SKINS)))], np.float32)
    side = int(random.choice([-1, 1]))
    for level in np.linspace(-0.1, 0.65, int(random.integers(3, 5))):
        _finger(
            canvas, (side * (wide + 0.2), level + 0.05), -side * 1.35, random.uniform(0.28, 0.45), 0.1, skin, random
        )


def microphone(canvas: Canvas, colour: Colour, shape: float, pattern: Pattern, random: np.random.Generator) -> None:
    """A head of wire mesh or foam on a handle, held by a fist."""
    size, stem = 0.34 + 0.14 * shape, random.uniform(0.13, 0.2)
    handle = np.array([(-stem, 0.1), (stem, 0.1), (0.75 * stem, 2.6), (-0.75 * stem, 2.6)], np.float32)
    black = np.float32(random.uniform(0.04, 0.2))
    canvas.lay(
        canvas.inside(handle),
        np.array([1, 1, 1.05])
        * (black * (1.3 - np.minimum(np.abs(canvas.u / stem), 1)[..., None]) + 0 * canvas.v[..., None]),
    )
    head = wobbled(_circle((0, -0.25), size), random, 0.006) * np.array([1, random.uniform(1.0, 1.3)], np.float32)
    ball = canvas.inside(head)
    round_light = 1.15 - 0.9 * ((canvas.u + 0.1) ** 2 + (canvas.v + 0.4) ** 2)
    mesh = (
        0.14 * np.sign(np.sin(52 * canvas.u)) * np.sign(np.sin(52 * canvas.v))
        if pattern != "plain"
        else 0.12 * canvas.clouds(random, 60, 50)
    )
    canvas.lay(ball, np.array(colour, np.float32) * (round_light + mesh)[..., None])
    ring = np.array([(-size * 0.9, 0.02), (size * 0.9, 0.02)], np.float32)
    canvas.lay(canvas.along(ring, 0.07) * ball, np.array(colour) * 0.55)
    skin = np.array(SKINS[int(random.integers(len(SKINS)))], np.float32)
    for level in (0.85, 1.07, 1.29, 1.5):
        _finger(canvas, (0.34, level), -1.45, 0.62, 0.115, skin, random)


SKINS: tuple[Colour, ...] = (
    (0.87, 0.67, 0.52),
    (0.72, 0.52, 0.40),
    (0.95, 0.80, 0.70),
    (0.42, 0.28, 0.20),
    (0.28, 0.18, 0.13),
)


def rounded_box(middle: tuple[float, float], half: tuple[float, float], radius: float) -> Floats:
    """Outline [n, 2] of a rectangle with rounded corners."""
    quarter = np.linspace(0, np.pi / 2, 6)
    parts = []
    for number, (x, y) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        turned = quarter + number * np.pi / 2
        parts.append(
            np.stack(
                [
                    middle[0] + x * (half[0] - radius) + radius * np.cos(turned),
                    middle[1] + y * (half[1] - radius) + radius * np.sin(turned),
                ],
                -1,
            )
        )
    return np.concatenate(parts).astype(np.float32)


def _circle(middle: tuple[float, float], radius: float) -> Floats:
    around = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    ring: Floats = np.stack([middle[0] + radius * np.cos(around), middle[1] + radius * np.sin(around)], -1)
    return ring.astype(np.float32)


def _finger(
    canvas: Canvas,
    root: tuple[float, float],
    lean: float,
    length: float,
    thick: float,
    skin: Floats,
    random: np.random.Generator,
) -> None:
    """A finger that starts at `root` and points up, turned by `lean` radians to the right."""
    lean += random.normal(0, 0.05)
    along, across = np.array([math.sin(lean), -math.cos(lean)]), np.array([math.cos(lean), math.sin(lean)])
    widths = [(0.0, 1.05), (0.3, 0.95), (0.48, 1.0), (0.75, 0.88), (0.93, 0.72), (1.0, 0.3)]
    bend = random.normal(0, 0.05)
    axis = [np.array(root) + along * length * t + across * bend * t * t for t, _ in widths]
    right = [point + across * thick * w for point, (_, w) in zip(axis, widths, strict=True)]
    left = [point - across * thick * w for point, (_, w) in zip(axis, widths, strict=True)]
    outline = curve(wobbled(np.array(right + left[::-1]), random, 0.008))
    side = ((canvas.u - root[0]) * across[0] + (canvas.v - root[1]) * across[1]) / thick
    far = ((canvas.u - root[0]) * along[0] + (canvas.v - root[1]) * along[1]) / length
    covered = canvas.inside(outline)
    canvas.shade(1 - 0.35 * canvas.along(np.concatenate([outline, outline[:1]]), 0.06))
    _limb(canvas, covered, skin, side, random)
    joints = np.exp(-(((far - 0.48) / 0.03) ** 2)) + np.exp(-(((far - 0.76) / 0.03) ** 2))
    canvas.shade(1 - 0.14 * joints, covered)
    tip = np.clip(1 - ((far - 0.89) / 0.09) ** 2 - (side / 0.62) ** 2, 0, 1) > 0
    canvas.lay(covered * tip.astype(np.float32) * 0.7, np.clip(skin * 1.05 + np.array([0.07, 0.04, 0.05]), 0, 1))


def _limb(canvas: Canvas, covered: Floats, skin: Floats, side: Floats, random: np.random.Generator) -> None:
    """Skin on something round: `side` is -1 and 1 at its edges."""
    light = 1.04 - 0.26 * np.clip(np.abs(side - 0.15), 0, 1.2) ** 2 + 0.03 * canvas.clouds(random, 20, 14)
    warm = 1 + np.array([0.03, -0.02, -0.03]) * canvas.clouds(random, 5, 4)[..., None]
    canvas.lay(covered, skin * (light * np.ones(canvas.shape))[..., None] * warm)
