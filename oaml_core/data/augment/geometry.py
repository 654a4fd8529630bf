"""Transforms that move pixels: image, visibility and landmarks go together."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample
from torchvision.transforms.v2 import functional

from oaml_core.data.augment.pair_transform import PairTransform

MIRRORED = [1, 0, 2, 4, 3]
"""Order of the landmarks in a mirrored face: left and right eye, and left and right mouth corner, change places."""
ATTEMPTS = 10


class RandomFlip(PairTransform):
    """Mirror the face; landmarks take the names of the side that they are on now."""

    def on_image(self, image: Tensor, params: dict[str, Any]) -> Tensor:
        return image.flip(-1)

    def on_mask(self, mask: Tensor, params: dict[str, Any]) -> Tensor:
        return mask.flip(-1)

    def on_landmarks(self, points: Tensor, params: dict[str, Any]) -> Tensor:
        mirrored = points[MIRRORED]
        mirrored[:, 0] = params["size"][1] - 1 - mirrored[:, 0]
        return mirrored


class Misalignment(PairTransform):
    """Shift, turn and scale a face, and what covers it, as landmarks that were found inexactly misplace it.

    The four numbers are normally distributed; what comes in from outside of the image repeats its edge.

    Args:
        p, generator: see `PairTransform`.
    """

    shift = 0.022
    """Deviation of either shift, as a share of the image's side."""
    angle = math.radians(4)
    """Deviation of the angle."""
    scale = 0.05
    """Deviation of the logarithm of the scale."""

    def parameters_of(self, image: Tensor, landmarks: Tensor | None) -> dict[str, Any]:
        right, down, turn, grow = torch.randn(4, generator=self.generator, dtype=torch.float64).tolist()
        factor, angle = math.exp(self.scale * grow), self.angle * turn
        cosine, sine = factor * math.cos(angle), factor * math.sin(angle)
        forward = torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float32)
        half = torch.tensor(image.shape[:0:-1], dtype=torch.float32) / 2
        moved = 2 * half * self.shift * torch.tensor([right, down], dtype=torch.float32)
        return super().parameters_of(image, landmarks) | {"forward": forward, "moved": moved, "half": half}

    def on_image(self, image: Tensor, params: dict[str, Any]) -> Tensor:
        return _as_bytes(self._warped(image.float(), params))

    def on_mask(self, mask: Tensor, params: dict[str, Any]) -> Tensor:
        return self._warped(mask, params).clamp_(0, 1)

    def on_landmarks(self, points: Tensor, params: dict[str, Any]) -> Tensor:
        centre = params["half"] - 0.5
        moved: Tensor = (points - centre) @ params["forward"].T + centre + params["moved"]
        return moved

    def _warped(self, pixels: Tensor, params: dict[str, Any]) -> Tensor:
        """Pixels [C, H, W] where `on_landmarks` moves them: the grid tells where each of the result comes from."""
        back, half = torch.linalg.inv(params["forward"]), params["half"]
        matrix = torch.cat([back, -(back @ params["moved"])[:, None]], dim=1)
        # `affine_grid` counts from the centre in units of half the width and half the height.
        matrix *= torch.cat([half, torch.ones(1)]) / half[:, None]
        grid = affine_grid(matrix[None], [1, *pixels.shape], align_corners=False)
        return _sampled(pixels, grid[0])


class PhotographEdge(PairTransform):
    """Let the photograph end inside of the aligned face, as that of a tightly cut or turned one does.

    Beyond the edge the image is black or repeats the edge, as programs that align faces fill it; visibility is 0 there.
    The photograph is turned by a normally distributed angle, and each of its four sides cuts the image with a
    probability of a half.

    Args:
        p, generator: see `PairTransform`.
    """

    angle = math.radians(12)
    """Deviation of the photograph's angle."""
    nearest = (0.32, 0.2, 0.32, 0.36)
    """Least distance of the left, upper, right and lower side from the image's centre, as a share of the image's side:
    the brows, the eyes and the mouth of an upright face stay. At most it is 0.5."""

    def parameters_of(self, image: Tensor, landmarks: Tensor | None) -> dict[str, Any]:
        angle = self.angle * float(torch.randn(1, generator=self.generator))
        black, *drawn = self.draw(9)
        half = torch.tensor(image.shape[:0:-1], dtype=torch.float32) / 2
        cuts, places = drawn[:4], drawn[4:]
        reach = [
            near + (0.5 - near) * place if cut < 0.5 else 2.0
            for near, cut, place in zip(self.nearest, cuts, places, strict=True)
        ]
        turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        height, width = image.shape[1:]
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        # In the photograph's own axes, from the centre of the image.
        places_there = (torch.stack([x, y], dim=-1) - half) @ turn
        ends = 2 * half * torch.tensor(reach).view(2, 2)
        kept = places_there.clamp(-ends[0], ends[1])
        return super().parameters_of(image, landmarks) | {
            "inside": (kept == places_there).all(-1),
            "grid": (kept @ turn.T) / half,
            "black": black < 0.5,
        }

    def on_image(self, image: Tensor, params: dict[str, Any]) -> Tensor:
        inside = params["inside"]
        if params["black"]:
            return torch.where(inside, image, torch.zeros_like(image))
        return torch.where(inside, image, _as_bytes(_sampled(image.float(), params["grid"])))

    def on_mask(self, mask: Tensor, params: dict[str, Any]) -> Tensor:
        inside: Tensor = params["inside"]
        return mask * inside


def _sampled(pixels: Tensor, grid: Tensor) -> Tensor:
    """Return float pixels [C, H, W] from the places of `grid` [H, W, 2], as `grid_sample` has them; edges repeat."""
    return grid_sample(pixels[None], grid[None], padding_mode="border", align_corners=False)[0]


def _as_bytes(pixels: Tensor) -> Tensor:
    """Return float pixels rounded to uint8; `pixels` is changed."""
    return pixels.add_(0.5).clamp_(0, 255).to(torch.uint8)


class _Resized(PairTransform):
    """Cuts `params["box"]` (top, left, height, width) out and brings it to `params["size"]` (height, width)."""

    def on_image(self, image: Tensor, params: dict[str, Any]) -> Tensor:
        return resized_crop(image, params["box"], params["size"])

    def on_mask(self, mask: Tensor, params: dict[str, Any]) -> Tensor:
        # Antialiased interpolation averages visibility; torchvision's own masks take the nearest value.
        return resized_crop(mask, params["box"], params["size"]).clamp_(0, 1)

    def on_landmarks(self, points: Tensor, params: dict[str, Any]) -> Tensor:
        top, left, height, width = params["box"]
        tall, wide = params["size"]
        return (points - points.new_tensor([left, top])) * points.new_tensor([wide / width, tall / height])


class RectScale(_Resized):
    """Resize to `height` × `width` pixels, stretching where the proportions differ; masks are averaged over area."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__(1.0, torch.Generator())
        self.height, self.width = height, width

    def parameters_of(self, image: Tensor, landmarks: Tensor | None) -> dict[str, Any]:
        return {"box": (0, 0, *image.shape[1:]), "size": (self.height, self.width)}


class RandomSizedRectCrop(_Resized):
    """Cut out a random rectangle and enlarge it to `height` × `width`; the whole image where none fits in ten tries.

    Args:
        height, width: pixels of the result.
        area: share of the image that is cut out.
        aspect: width by height of what is cut out. Re-identification crops upright bodies at 1/3 to 1/2; faces want
            next to no distortion.
        p, generator: see `PairTransform`.
    """

    def __init__(
        self,
        height: int,
        width: int,
        *,
        p: float = 1.0,
        area: tuple[float, float] = (0.64, 1.0),
        aspect: tuple[float, float] = (0.9, 1.1),
        generator: torch.Generator,
    ) -> None:
        super().__init__(p, generator)
        self.height, self.width = height, width
        self.area, self.aspect = area, aspect

    def parameters_of(self, image: Tensor, landmarks: Tensor | None) -> dict[str, Any]:
        found = random_rectangle(self, (image.shape[1], image.shape[2])) or (0, 0, *image.shape[1:])
        return {"box": found, "size": (self.height, self.width)}


def random_rectangle(transform: Any, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Top, left, height and width of a rectangle in an image of `size`, of the `area` and `aspect` (drawn on a log
    scale) of `transform`; None if none fitted in ten tries."""
    height, width = size
    (least, most), (low, high) = transform.area, transform.aspect
    for _ in range(ATTEMPTS):
        share, shape, top, left = transform.draw(4)
        area = (least + (most - least) * share) * height * width
        aspect = low * (high / low) ** shape
        tall, wide = max(1, round(math.sqrt(area / aspect))), max(1, round(math.sqrt(area * aspect)))
        if tall <= height and wide <= width:
            return int(top * (height - tall + 1)), int(left * (width - wide + 1)), tall, wide
    return None


def resized_crop(pixels: Tensor, box: tuple[int, int, int, int], size: tuple[int, int]) -> Tensor:
    """Cut `box` (top, left, height, width) out of `pixels` [C, H, W] and resize it to `size` (height, width),
    antialiased."""
    top, left, height, width = box
    cut = pixels[:, top : top + height, left : left + width]
    return cut.clone() if (height, width) == size else functional.resize(cut, list(size), antialias=True)
