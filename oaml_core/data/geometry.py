"""Transforms that move pixels: image, visibility and landmarks go together."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from oaml_core.data.pair_transform import PairTransform, like, plain, size_of

MIRRORED = [1, 0, 2, 4, 3]
"""Order of the landmarks in a mirrored face: left and right eye, and left and right mouth corner, change places."""
ATTEMPTS = 10


class RandomFlip(PairTransform):
    """Mirror the face; landmarks take the names of the side that they are on now."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if isinstance(inpt, tv_tensors.KeyPoints):
            points = plain(inpt)[MIRRORED]
            points[:, 0] = inpt.canvas_size[1] - 1 - points[:, 0]
            return like(inpt, points)
        return like(inpt, plain(inpt).flip(-1))


class RectScale(v2.Transform):
    """Resize to `height` × `width` pixels, stretching where the proportions differ; masks are averaged over area."""

    _transformed_types = PairTransform._transformed_types

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return resized_crop(inpt, (0, 0, *functional.get_size(inpt)), (self.height, self.width))


class RandomSizedRectCrop(PairTransform):
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

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        size = size_of(flat_inputs)
        return {"box": random_rectangle(self, size) or (0, 0, *size)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return resized_crop(inpt, params["box"], (self.height, self.width))


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


def resized_crop(part: Any, box: tuple[int, int, int, int], size: tuple[int, int]) -> Any:
    """`box` (top, left, height, width) of an image, a mask or landmarks, at `size` (height, width)."""
    top, left, height, width = box
    if isinstance(part, tv_tensors.KeyPoints):
        return functional.resized_crop(part, top, left, height, width, list(size))
    cut = plain(part)[..., top : top + height, left : left + width]
    if (height, width) == size:
        return like(part, cut.clone())
    return like(part, _resized(cut, size))


def _resized(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    # Antialiased interpolation of a mask averages its visibility; torchvision itself would take the nearest value.
    resized = functional.resize(pixels, list(size), antialias=True)
    return resized.clamp_(0, 1) if resized.is_floating_point() else resized
