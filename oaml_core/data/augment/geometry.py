"""Transforms that move pixels: image, visibility and landmarks go together."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
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
    """`box` (top, left, height, width) of pixels [C, H, W] at `size` (height, width), by antialiased interpolation."""
    top, left, height, width = box
    cut = pixels[:, top : top + height, left : left + width]
    return cut.clone() if (height, width) == size else functional.resize(cut, list(size), antialias=True)
