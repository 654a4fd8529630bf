"""Scenes to train a face detector on: faces under drawn cover in photographs without faces, and decoys.

Every face stands under a similarity transform (turned by up to 35°). Cover is a drawn occluder, a band below the nose
or at the eyes, a piece of cloth, or all but a slit at the eyes, in colours, stripes and textures. Decoys are patches
like covered faces, but without a face: textures, mouths in a slit, faces upside down in a slit, and foreheads alone.
Each scene is made twice, with the cover and without it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from benchmarks.scene_parts import PastedFace, Patch, Scene, photographed
from oaml_core.data.augment.occlusion import draw_occluder
from oaml_core.photos.detection import Floats, Photo
from oaml_core.photos.yunet import HABIT

EYES = (5.5, 80.0)
"""Least and greatest distance of the eyes in pixels."""
KINDS = ("mask", "scarf", "veil", "niqab", "hand", "sunglasses", "eyeglasses", "phone", "hat", "hair", "veil", "niqab")
KEPT = 1500
"""Most covered faces, and most decoys, that are kept to be pasted more than once."""
RENEWED = 0.2
"""Share of the pasted faces that are covered anew once so many are kept."""
CLUTTERED = 0.6
"""Share of the scenes whose background is covered with pieces of photographs, of cloth and of shuffled faces."""


class SceneMaker:
    """Makes scenes from faces and photographs without faces.

    Args:
        faces: aligned faces.
        backgrounds: uint8 [H, W, 3], without faces.
        seed: of everything that is drawn.
        side: of the scenes in pixels.
    """

    def __init__(self, faces: list[PastedFace], backgrounds: list[Photo], seed: int, side: int) -> None:
        self._faces, self._backgrounds, self._side = faces, backgrounds, side
        self._draws = np.random.default_rng(seed)
        self._torch = torch.Generator().manual_seed(seed)
        self._kept: dict[bool, list[Patch]] = {False: [], True: []}

    def scene(self) -> Scene:
        """Return the next scene."""
        draws = self._draws
        covered = self._cluttered() if draws.random() < CLUTTERED else self._background()
        uncovered = covered
        points: list[Floats] = []
        taken: list[tuple[Floats, float]] = []
        wanted = 0 if draws.random() < 0.25 else int(draws.integers(1, 6))
        for number in range(wanted + int(draws.integers(0, 4))):
            decoy = number >= wanted
            distance = float(np.exp(draws.uniform(*np.log(EYES))))
            place = self._free(taken, 1.8 * distance)
            if place is None:
                continue
            taken.append((place, 1.8 * distance))
            patch = self._patch(decoy)
            turn = self._turn(patch, distance)
            shift = place - turn @ patch.points[:2].mean(0)
            outline, blob = self._outline(), self._blob()
            covered = self._paste(covered, patch.covered, patch.surround, outline, blob, turn, shift)
            if not decoy:
                uncovered = self._paste(uncovered, patch.uncovered, patch.surround, outline, blob, turn, shift)
                points.append((patch.points + HABIT) @ turn.T + shift)
        return Scene(photographed(covered, self._draws), uncovered, np.array(points).reshape(-1, 5, 2))

    def _patch(self, decoy: bool) -> Patch:
        """Return a covered face or a decoy, at times one that was pasted before."""
        draws, kept = self._draws, self._kept[decoy]
        if len(kept) == KEPT and draws.random() >= RENEWED:
            return kept[draws.integers(KEPT)]
        face = self._faces[draws.integers(len(self._faces))]
        covered, surround = self._decoy(face) if decoy else self._covered(face)
        patch = Patch(covered, face.image, surround, face.points)
        if len(kept) < KEPT:
            kept.append(patch)
        else:
            kept[draws.integers(KEPT)] = patch
        return patch

    def _turn(self, patch: Patch, distance: float) -> Floats:
        """Return a rotation and scale [2, 2] that brings the eyes to that distance."""
        scale = distance / float(np.hypot(*(patch.points[1] - patch.points[0])))
        angle = np.radians(self._draws.uniform(-35, 35))
        return scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def _background(self) -> Photo:
        draws = self._draws
        picture = Image.fromarray(self._backgrounds[draws.integers(len(self._backgrounds))])
        if draws.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        part = min(min(picture.size), int(np.exp(draws.uniform(np.log(160), np.log(1600)))))
        left, top = (int(draws.integers(0, side - part + 1)) for side in picture.size)
        box = (left, top, left + part, top + part)
        size = (self._side, self._side)
        return np.asarray(picture.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=2.0))

    def _cluttered(self) -> Photo:
        """Return a background under pieces that have the colours and edges of people, clothes and things."""
        draws = self._draws
        canvas = Image.fromarray(self._background())
        for _ in range(int(draws.integers(4, 22))):
            kind = draws.random()
            if kind < 0.35:
                piece = self._shuffled()
            elif kind < 0.7:
                piece = np.array(Image.fromarray(self._background()).resize((112, 112)))
            else:
                piece = self._cloth()
            if draws.random() < 0.3:
                piece = 255 - piece
            size = float(np.exp(draws.uniform(np.log(0.12), np.log(1.2))))
            angle, stretch = draws.uniform(0, 2 * np.pi), draws.uniform(0.4, 1.0)
            turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            turn = turn * np.array([stretch, 1.0])
            place = draws.uniform(0, self._side, 2)
            mask = self._outline() if draws.random() < 0.6 else self._blob()
            self._lay(canvas, Image.fromarray(piece), mask, turn, place - turn @ np.array([56.0, 56.0]), 1.0)
        return np.asarray(canvas)

    def _shuffled(self) -> Photo:
        """Return a face cut into tiles that have changed places, or one tile of it, enlarged."""
        draws = self._draws
        image = self._faces[draws.integers(len(self._faces))].image
        count = int(draws.choice([2, 4, 7]))
        tile = 112 // count
        if draws.random() < 0.3:
            top, left = (int(draws.integers(0, 112 - 32)) for _ in range(2))
            return np.array(Image.fromarray(image[top : top + 32, left : left + 32]).resize((112, 112)))
        tiles = image.reshape(count, tile, count, tile, 3).swapaxes(1, 2).reshape(-1, tile, tile, 3)
        tiles = np.stack([np.rot90(one, draws.integers(4)) for one in draws.permutation(tiles)])
        return tiles.reshape(count, count, tile, tile, 3).swapaxes(1, 2).reshape(112, 112, 3)

    def _free(self, taken: list[tuple[Floats, float]], radius: float) -> Floats | None:
        for _ in range(20):
            low = min(radius * 0.8, self._side / 2 - 1)
            place = self._draws.uniform(low, self._side - low, 2)
            if all(np.hypot(*(place - other)) > radius + far for other, far in taken):
                return place
        return None

    def _paste(
        self,
        canvas: Photo,
        image: Photo,
        surround: Photo | None,
        outline: Image.Image,
        blob: Image.Image,
        turn: Floats,
        shift: Floats,
    ) -> Photo:
        """Lay a patch, and the cloth around it, on a canvas."""
        picture = Image.fromarray(image)
        small = max(8, round(112 * float(np.hypot(*turn[0]))))
        if small < 112:
            picture = picture.resize((small, small), Image.Resampling.LANCZOS).resize((112, 112))
        result = Image.fromarray(canvas)
        if surround is not None:
            self._lay(result, Image.fromarray(surround), blob, turn, shift, 1.8)
        self._lay(result, picture, outline, turn, shift, 1.0)
        return np.asarray(result)

    def _lay(
        self, canvas: Image.Image, picture: Image.Image, mask: Image.Image, turn: Floats, shift: Floats, size: float
    ) -> None:
        """Lay a picture of 112 × 112 pixels on the canvas, `size` times as large as a face, about the same middle."""
        matrix = np.column_stack([turn * size, shift + turn @ np.array([56.0, 56.0]) * (1 - size)])
        inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
        corners = np.array([[0, 0, 1], [112, 0, 1], [0, 112, 1], [112, 112, 1]]) @ matrix.T
        low = np.clip(np.floor(corners.min(0)).astype(int) - 1, 0, self._side)
        high = np.clip(np.ceil(corners.max(0)).astype(int) + 1, 0, self._side)
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
        surround = cloth if draws.random() < 0.25 else None
        if kind < 0.15:
            return image, surround
        if kind < 0.60:
            drawn, _ = draw_occluder(
                torch.from_numpy(image.transpose(2, 0, 1).copy()),
                torch.from_numpy(face.points.astype(np.float32)),
                KINDS[draws.integers(len(KINDS))],
                self._torch,
                natural=True,
                dye_prob=0.5,
            )
            return drawn.numpy().transpose(1, 2, 0), surround
        if kind < 0.72:
            below = self._band((57, 72))
        elif kind < 0.78:
            below = self._band((34, 44)) & ~self._band((58, 66))
        elif kind < 0.84:
            below = np.zeros((112, 112), bool)
            top, left = (int(draws.integers(0, 70)) for _ in range(2))
            below[top : top + int(draws.integers(20, 60)), left : left + int(draws.integers(20, 60))] = True
        else:
            below = self._band((57, 72)) | ~self._band((26, 43))
            surround = cloth if draws.random() < 0.5 else None
        image[below] = cloth[below]
        return image, surround

    def _decoy(self, face: PastedFace) -> tuple[Photo, Photo | None]:
        """Return a patch like a covered face but without eyes, nose or mouth where a face has them."""
        draws = self._draws
        kind, cloth = draws.random(), self._cloth()
        if kind < 0.12:
            image = face.image.copy()
            below = self._band((28, 40))
            image[below] = cloth[below]
            return image, None
        if kind < 0.24:
            return self._relief(face.image), None
        if kind < 0.36:
            image = np.ascontiguousarray(face.image[::-1, ::-1])
        elif kind < 0.52:
            image = face.image.copy()
            top = int(draws.integers(44, 56))
            image[38:62] = face.image[top + 26 : top + 50]
        else:
            image = np.array(Image.fromarray(self._background()).resize((112, 112)))
        if kind < 0.8:
            covered = self._band((57, 72)) | ~self._band((26, 43))
            image[covered] = cloth[covered]
        return image, cloth if draws.random() < 0.4 else None

    def _relief(self, image: Photo) -> Photo:
        """Return a head as it stands out of a coin or a wall: the slopes of its greys, lit from one side."""
        draws = self._draws
        grey = np.asarray(Image.fromarray(image).convert("L").filter(ImageFilter.GaussianBlur(draws.uniform(0.6, 2.5))))
        down, right = np.gradient(grey.astype(np.float64))
        if draws.random() < 0.5:
            down, right = down[:, ::-1], -right[:, ::-1]
        angle = draws.uniform(0, 2 * np.pi)
        slope = np.cos(angle) * right + np.sin(angle) * down
        lit = draws.uniform(60, 190) + draws.uniform(15, 45) * slope / max(float(slope.std()), 1e-6)
        metal = draws.uniform(0.75, 1.0, 3) if draws.random() < 0.5 else np.ones(3)
        return np.clip(lit[..., None] * metal + draws.normal(0, draws.uniform(1, 8), image.shape), 0, 255).astype(
            np.uint8
        )
