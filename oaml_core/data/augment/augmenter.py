"""Quality augmentation of AdaFace (Kim et al. 2022, section 4.1): crop with zero padding, colour, low resolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from oaml_core.data.augment.geometry import random_rectangle
from oaml_core.data.augment.pair_transform import PairTransform

FACTORS = (0.5, 1.5)
"""Range of the factors of brightness, contrast and saturation."""
LANCZOS = Image.Resampling.LANCZOS
LUMA = (0.299, 0.587, 0.114)
INTERPOLATIONS = ("nearest", "bilinear", "area", "bicubic", "lanczos")
"""The interpolations of AdaFace's augmentation. `area`: bilinear with antialiasing, which averages what it shrinks."""


class Augmenter(PairTransform):
    """Crop, colour and resolution, each with its own probability, in this order or with the last two exchanged.

    A crop keeps a random rectangle where it is and blackens the rest, which shows no face any more: its visibility
    becomes 0, as under a black block. Colour and resolution leave visibility as it is.

    Args:
        crop_augmentation_prob: of keeping a share of the area, width by height 3/4 to 4/3.
        photometric_augmentation_prob: of brightness, contrast and saturation by factors in [0.5, 1.5].
        low_res_augmentation_prob: of shrinking to a share of the side and enlarging again, each with a random
            interpolation.
        crop_area: least and largest share of the area that a crop keeps.
        low_res_side: least and largest share of the side that low resolution shrinks to.
        low_res_before_colour: the order of AdaFace's code; else colour comes first.
        generator: of everything random.

    Example:
        >>> import torch
        >>> from torchvision import tv_tensors
        >>> import oaml_core as oaml
        >>> face = tv_tensors.Image(torch.rand(3, 112, 112))
        >>> augment = oaml.Augmenter(low_res_augmentation_prob=1.0, generator=torch.Generator().manual_seed(0))
        >>> image, visible = augment(face, tv_tensors.Mask(torch.ones(1, 112, 112)))
        >>> image.shape
        torch.Size([3, 112, 112])
    """

    aspect = (3 / 4, 4 / 3)

    def __init__(
        self,
        crop_augmentation_prob: float = 0.0,
        photometric_augmentation_prob: float = 0.0,
        low_res_augmentation_prob: float = 0.0,
        *,
        crop_area: tuple[float, float] = (0.2, 1.0),
        low_res_side: tuple[float, float] = (0.2, 1.0),
        low_res_before_colour: bool = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__(1.0, generator)
        self.area, self.low_res_side = crop_area, low_res_side
        self.low_res_before_colour = low_res_before_colour
        self.probabilities = crop_augmentation_prob, photometric_augmentation_prob, low_res_augmentation_prob

    def parameters_of(self, image: Tensor, landmarks: Tensor | None) -> dict[str, Any]:
        size = (image.shape[1], image.shape[2])
        crop, colour, resolution = (
            drawn < wanted for drawn, wanted in zip(self.draw(3), self.probabilities, strict=True)
        )
        return {
            "size": size,
            "box": random_rectangle(self, size) if crop else None,
            "factors": _between(FACTORS, self.draw(3)) if colour else None,
            "detour": _detour(size, self.low_res_side, self.draw(3)) if resolution else None,
        }

    def on_image(self, image: Tensor, params: dict[str, Any]) -> Tensor:
        if params["box"] is not None:
            image = kept(image, params["box"])
        steps: list[tuple[Callable[[Tensor, Any], Tensor], Any]] = [
            (photometric, params["factors"]),
            (low_resolution, params["detour"]),
        ]
        for step, how in reversed(steps) if self.low_res_before_colour else steps:
            if how is not None:
                image = step(image, how)
        return image

    def on_mask(self, mask: Tensor, params: dict[str, Any]) -> Tensor:
        return mask if params["box"] is None else kept(mask, params["box"])


class Detour(NamedTuple):
    """A loss of detail: the size that an image shrinks to, and the interpolations that shrink and enlarge it."""

    size: tuple[int, int]
    down: str
    up: str


def _detour(size: tuple[int, int], sides: tuple[float, float], drawn: list[float]) -> Detour:
    (share,) = _between(sides, drawn[:1])
    down, up = (INTERPOLATIONS[int(number * len(INTERPOLATIONS))] for number in drawn[1:])
    return Detour((max(1, round(size[0] * share)), max(1, round(size[1] * share))), down, up)


def _between(limits: tuple[float, float], drawn: list[float]) -> list[float]:
    low, high = limits
    return [low + (high - low) * number for number in drawn]


def kept(pixels: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    """Return a copy of `pixels` [C, H, W] that is 0 outside of `box` (top, left, height, width)."""
    top, left, height, width = box
    result = torch.zeros_like(pixels)
    place = (..., slice(top, top + height), slice(left, left + width))
    result[place] = pixels[place]
    return result


def photometric(image: Tensor, factors: Sequence[float]) -> Tensor:
    """Change brightness, then contrast about the mean luma, then saturation of a uint8 image [3, H, W] by factors."""
    brightness, contrast, saturation = factors
    pixels = image.float().view(3, -1).mul_(brightness).clamp_(max=255)
    luma = pixels.new_tensor(LUMA)
    middle = float(luma @ pixels.mean(1))
    pixels.mul_(contrast).add_(middle * (1 - contrast)).clamp_(0, 255)
    torch.lerp((luma @ pixels)[None], pixels, saturation, out=pixels)
    return _as_bytes(pixels.add_(0.5).clamp_(0, 255)).view_as(image)


def _as_bytes(pixels: Tensor) -> Tensor:
    """Return float32 in [0, 256) cut off to uint8: numpy is several times as fast at it as torch."""
    return torch.from_numpy(pixels.numpy().astype(np.uint8))


def low_resolution(image: Tensor, detour: Detour) -> Tensor:
    """Return a uint8 image [3, H, W] shrunk and enlarged again."""
    small = _resized(image[None], detour.size, detour.down)
    return _resized(small, (image.shape[1], image.shape[2]), detour.up)[0]


def _resized(images: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    if mode == "lanczos":
        small = [Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size[::-1], LANCZOS) for image in images]
        return torch.stack([torch.from_numpy(np.array(one)).permute(2, 0, 1) for one in small])
    if mode == "nearest":
        return functional.interpolate(images, size, mode=mode)
    smooth, antialias = ("bilinear", True) if mode == "area" else (mode, False)
    return functional.interpolate(images, size, mode=smooth, align_corners=False, antialias=antialias)
