"""Scenes for the upper-face head: faces under drawn cover in photographs without faces, and decoys that are no eyes.

Every face stands under a similarity transform (turned by up to 35°, 7 to 110 pixels between the eyes). Cover is a
drawn occluder, a band below the nose, or all but a slit at the eyes, in colours, stripes and textures. Decoys are the
same patches without eyes: covered eyes, mouths in a slit, textures in a slit, faces upside down.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from oaml_core.data.augment.occlusion import draw_occluder
from oaml_core.photos.detection import Floats, Photo

SIDE = 640
EYES = (7.0, 110.0)
"""Least and greatest distance of the eyes in pixels."""
KINDS = ("mask", "scarf", "niqab", "hand")


@dataclass(frozen=True)
class PastedFace:
    """One aligned face to paste: uint8 [112, 112, 3] and its five points [5, 2]."""

    image: Photo
    points: Floats


class SceneMaker:
    """Makes scenes from faces and photographs without faces.

    Args:
        faces: aligned faces.
        backgrounds: uint8 [H, W, 3], without faces.
        seed: of everything that is drawn.
    """

    def __init__(self, faces: list[PastedFace], backgrounds: list[Photo], seed: int) -> None:
        self._faces, self._backgrounds = faces, backgrounds
        self._draws = np.random.default_rng(seed)
        self._torch = torch.Generator().manual_seed(seed)

    def scene(self) -> tuple[Photo, Floats]:
        """Return uint8 [640, 640, 3] and the eyes [n, 2, 2] of its faces, n from 0 to 7."""
        draws = self._draws
        canvas = self._background()
        eyes: list[Floats] = []
        taken: list[tuple[Floats, float]] = []
        wanted = 0 if draws.random() < 0.25 else int(draws.integers(1, 8))
        for number in range(wanted + int(draws.integers(0, 5))):
            decoy = number >= wanted
            distance = float(np.exp(draws.uniform(*np.log(EYES))))
            place = self._free(taken, 2.0 * distance)
            if place is None:
                continue
            taken.append((place, 2.0 * distance))
            canvas, pasted = self._paste(canvas, place, distance, decoy)
            if not decoy:
                eyes.append(pasted)
        return self._photographed(canvas), np.array(eyes).reshape(-1, 2, 2)

    def _background(self) -> Photo:
        draws = self._draws
        picture = Image.fromarray(self._backgrounds[draws.integers(len(self._backgrounds))])
        if draws.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        part = min(min(picture.size), int(np.exp(draws.uniform(np.log(160), np.log(1600)))))
        left, top = (int(draws.integers(0, side - part + 1)) for side in picture.size)
        box = (left, top, left + part, top + part)
        return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box, reducing_gap=2.0))

    def _free(self, taken: list[tuple[Floats, float]], radius: float) -> Floats | None:
        for _ in range(20):
            low = min(radius * 0.8, SIDE / 2 - 1)
            place = self._draws.uniform(low, SIDE - low, 2)
            if all(np.hypot(*(place - other)) > radius + far for other, far in taken):
                return place
        return None

    def _paste(self, canvas: Photo, place: Floats, distance: float, decoy: bool) -> tuple[Photo, Floats]:
        draws = self._draws
        face = self._faces[draws.integers(len(self._faces))]
        image, surround = self._decoy(face) if decoy else self._covered(face)
        middle, line = face.points[:2].mean(0), face.points[1] - face.points[0]
        scale, angle = distance / float(np.hypot(*line)), np.radians(draws.uniform(-35, 35))
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = place - turn @ middle
        picture = Image.fromarray(image)
        if scale < 1:
            small = max(8, round(112 * scale))
            picture = picture.resize((small, small), Image.Resampling.LANCZOS).resize((112, 112))
        result = Image.fromarray(canvas)
        if surround is not None:
            self._lay(result, Image.fromarray(surround), self._blob(), turn, shift, 1.8)
        self._lay(result, picture, self._outline(), turn, shift, 1.0)
        return np.asarray(result), face.points[:2] @ turn.T + shift

    def _lay(
        self, canvas: Image.Image, picture: Image.Image, mask: Image.Image, turn: Floats, shift: Floats, size: float
    ) -> None:
        """Lay a picture of 112 × 112 pixels on the canvas, `size` times as large as a face, about the same middle."""
        matrix = np.column_stack([turn * size, shift + turn @ np.array([56.0, 56.0]) * (1 - size)])
        inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
        corners = np.array([[0, 0, 1], [112, 0, 1], [0, 112, 1], [112, 112, 1]]) @ matrix.T
        low = np.clip(np.floor(corners.min(0)).astype(int) - 1, 0, SIDE)
        high = np.clip(np.ceil(corners.max(0)).astype(int) + 1, 0, SIDE)
        if np.any(high <= low):
            return
        inverse[:, 2] += inverse[:, :2] @ low
        coefficients, extent = tuple(float(value) for value in inverse.ravel()), tuple(int(v) for v in high - low)
        affine = Image.Transform.AFFINE
        part = picture.transform(extent, affine, coefficients, Image.Resampling.BICUBIC)
        canvas.paste(part, tuple(int(v) for v in low), mask.transform(extent, affine, coefficients))

    def _outline(self) -> Image.Image:
        """Return the shape of a pasted face: hard-edged, soft-edged or oval."""
        draws = self._draws
        kind = draws.random()
        if kind < 0.4:
            return Image.new("L", (112, 112), 255)
        y, x = np.mgrid[:112, :112] - 55.5
        if kind < 0.6:
            reach = np.maximum(abs(x), abs(y)) / 56
        else:
            reach = np.hypot(x / draws.uniform(44, 56), y / draws.uniform(52, 62))
        soft = draws.uniform(0.05, 0.3)
        return Image.fromarray((255 * np.clip((1 - reach) / soft, 0, 1)).astype(np.uint8))

    def _blob(self) -> Image.Image:
        y, x = np.mgrid[:112, :112] - 55.5
        reach = np.hypot(
            x / self._draws.uniform(36, 55), (y - self._draws.uniform(-6, 12)) / self._draws.uniform(42, 56)
        )
        return Image.fromarray((255 * np.clip((1 - reach) / 0.06, 0, 1)).astype(np.uint8))

    def _cloth(self) -> Photo:
        """Return uint8 [112, 112, 3] of one colour, shaded, striped, or a piece of a photograph."""
        draws = self._draws
        colour = draws.uniform(0, 70, 3) if draws.random() < 0.5 else draws.uniform(0, 255, 3)
        cloth = np.broadcast_to(colour, (112, 112, 3)).astype(np.float64).copy()
        kind = draws.random()
        y, x = np.mgrid[:112, :112] / 112
        if kind < 0.3:
            cloth *= (0.75 + 0.5 * (x * draws.uniform(-1, 1) + y * draws.uniform(-1, 1)))[..., None]
        elif kind < 0.5:
            wave = np.sin(2 * np.pi * (x * draws.uniform(-12, 12) + y * draws.uniform(-12, 12)))
            cloth += (draws.uniform(4, 60) * wave)[..., None]
        elif kind < 0.65:
            cloth = np.asarray(Image.fromarray(self._background()).resize((112, 112)), dtype=np.float64)
        if draws.random() < 0.5:
            cloth += draws.normal(0, draws.uniform(1, 10), cloth.shape)
        return np.clip(cloth, 0, 255).astype(np.uint8)

    def _band(self, low: tuple[float, float]) -> NDArray[np.bool_]:
        """Return bool [112, 112], True below a line, a little sloped or bent, at a row drawn from `low`."""
        draws = self._draws
        x = np.arange(112) - 55.5
        line = draws.uniform(*low) + draws.uniform(-0.1, 0.1) * x + draws.uniform(-4, 4) * (x / 56) ** 2
        return np.arange(112)[:, None] > line[None]

    def _covered(self, face: PastedFace) -> tuple[Photo, Photo | None]:
        """Return a face under cover, and the cloth around it if there is one."""
        draws = self._draws
        kind, cloth = draws.random(), self._cloth()
        image = face.image.copy()
        if draws.random() < 0.15:
            image = np.repeat(image.mean(2, keepdims=True), 3, axis=2).astype(np.uint8)
        if kind < 0.12:
            return image, None
        if kind < 0.40:
            drawn, _ = draw_occluder(
                torch.from_numpy(image.transpose(2, 0, 1).copy()),
                torch.from_numpy(face.points.astype(np.float32)),
                KINDS[draws.integers(len(KINDS))],
                self._torch,
                natural=True,
            )
            return drawn.numpy().transpose(1, 2, 0), cloth if draws.random() < 0.2 else None
        below = self._band((57, 72))
        image[below] = cloth[below]
        if kind < 0.62:
            return image, cloth if draws.random() < 0.2 else None
        above = ~self._band((26, 43))
        image[above] = cloth[above]
        return image, cloth if draws.random() < 0.5 else None

    def _decoy(self, face: PastedFace) -> tuple[Photo, Photo | None]:
        """Return a patch like a covered face but without eyes."""
        draws = self._draws
        kind, cloth = draws.random(), self._cloth()
        image = face.image.copy()
        if kind < 0.25:
            eyes = ~self._band((58, 66)) & self._band((28, 40))
            image[eyes] = cloth[eyes]
            return image, None
        if kind < 0.45:
            image = np.ascontiguousarray(image[::-1, ::-1])
        elif kind < 0.65:
            top = int(draws.integers(44, 56))
            image[38:62] = image[top + 26 : top + 50]
        else:
            image = np.asarray(Image.fromarray(self._background()).resize((112, 112)))
        image = image.copy()
        if kind >= 0.45 or draws.random() < 0.7:
            covered = self._band((57, 72)) | ~self._band((26, 43))
            image[covered] = cloth[covered]
        return image, cloth if draws.random() < 0.4 else None

    def _photographed(self, scene: Photo) -> Photo:
        """Return the scene as a camera might give it: other light, blurred, noisy, compressed."""
        draws = self._draws
        picture = Image.fromarray(scene)
        if draws.random() < 0.25:
            picture = picture.filter(ImageFilter.GaussianBlur(draws.uniform(0.3, 1.5)))
        values = np.asarray(picture, dtype=np.float32)
        values = 255 * (values / 255) ** draws.uniform(0.7, 1.4) * draws.uniform(0.75, 1.2, 3).astype(np.float32)
        if draws.random() < 0.1:
            values = np.repeat(values.mean(2, keepdims=True), 3, axis=2)
        if draws.random() < 0.4:
            values = values + draws.normal(0, draws.uniform(1, 9), values.shape).astype(np.float32)
        picture = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
        if draws.random() < 0.4:
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=int(draws.integers(30, 95)))
            picture = Image.open(file).convert("RGB")
        return np.asarray(picture)
