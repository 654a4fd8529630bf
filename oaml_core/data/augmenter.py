"""Quality augmentation of AdaFace (Kim et al. 2022, section 4.1): crop with zero padding, colour, low resolution."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torchvision import tv_tensors

from oaml_core.data.geometry import random_rectangle
from oaml_core.data.pair_transform import PairTransform, like, plain, size_of

FACTORS = (0.5, 1.5)
"""Of brightness, contrast and saturation."""
SMALLEST_SIDE = 0.2
"""Share of the side that low resolution shrinks to at least."""
LUMA = (0.299, 0.587, 0.114)
INTERPOLATIONS = ("nearest", "bilinear", "area", "bicubic")


class Augmenter(PairTransform):
    """Crop, colour and resolution, each with its own probability, in this order.

    A crop keeps a random rectangle where it is and blackens the rest, which shows no face any more: its visibility
    becomes 0, as under a black block. Colour and resolution leave visibility as it is.

    Args:
        crop_augmentation_prob: of keeping 20 to 100 % of the area, width by height 3/4 to 4/3.
        photometric_augmentation_prob: of brightness, contrast and saturation by factors in [0.5, 1.5].
        low_res_augmentation_prob: of shrinking to 20 to 100 % of the side and enlarging again, each with a random
            interpolation.
        generator: of everything random.
    """

    area, aspect = (0.2, 1.0), (3 / 4, 4 / 3)

    def __init__(
        self,
        crop_augmentation_prob: float = 0.0,
        photometric_augmentation_prob: float = 0.0,
        low_res_augmentation_prob: float = 0.0,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__(1.0, generator)
        self.probabilities = crop_augmentation_prob, photometric_augmentation_prob, low_res_augmentation_prob

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        size = size_of(flat_inputs)
        crop, colour, resolution = (
            drawn < wanted for drawn, wanted in zip(self.draw(3), self.probabilities, strict=True)
        )
        return {
            "box": random_rectangle(self, size) if crop else None,
            "factors": _between(FACTORS, self.draw(3)) if colour else None,
            "detour": _detour(size, self.draw(3)) if resolution else None,
        }

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if isinstance(inpt, tv_tensors.KeyPoints):
            return inpt
        pixels = plain(inpt)
        if params["box"] is not None:
            pixels = kept(pixels, params["box"])
        if isinstance(inpt, tv_tensors.Image) and params["factors"] is not None:
            pixels = photometric(pixels, *params["factors"])
        if isinstance(inpt, tv_tensors.Image) and params["detour"] is not None:
            pixels = low_resolution(pixels, params["detour"])
        return like(inpt, pixels)


class Detour(NamedTuple):
    """How an image loses detail: to which size it shrinks, and by which interpolations it goes there and back."""

    size: tuple[int, int]
    down: str
    up: str


def _detour(size: tuple[int, int], drawn: list[float]) -> Detour:
    share = SMALLEST_SIDE + (1 - SMALLEST_SIDE) * drawn[0]
    down, up = (INTERPOLATIONS[int(number * len(INTERPOLATIONS))] for number in drawn[1:])
    return Detour((max(1, round(size[0] * share)), max(1, round(size[1] * share))), down, up)


def _between(limits: tuple[float, float], drawn: list[float]) -> list[float]:
    low, high = limits
    return [low + (high - low) * number for number in drawn]


def kept(pixels: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    """`pixels` [C, H, W] in a box (top, left, height, width), 0 elsewhere."""
    top, left, height, width = box
    result = torch.zeros_like(pixels)
    place = (..., slice(top, top + height), slice(left, left + width))
    result[place] = pixels[place]
    return result


def photometric(image: Tensor, brightness: float, contrast: float, saturation: float) -> Tensor:
    """Brightness, then contrast about the mean luma, then saturation of a uint8 image [3, H, W], by factors."""
    pixels = image.float().mul_(brightness).clamp_(0, 255)
    luma = pixels.new_tensor(LUMA)[:, None, None]
    middle = float((pixels.mean((1, 2), keepdim=True) * luma).sum())
    pixels.mul_(contrast).add_(middle * (1 - contrast)).clamp_(0, 255)
    grey = (pixels * luma).sum(0, keepdim=True)
    return torch.lerp(grey, pixels, saturation).clamp_(0, 255).round_().to(torch.uint8)


def low_resolution(image: Tensor, detour: Detour) -> Tensor:
    """A uint8 image [3, H, W] shrunk and enlarged again."""
    small = _resized(image[None].float(), detour.size, detour.down)
    back = _resized(small, (image.shape[1], image.shape[2]), detour.up)
    return back[0].clamp_(0, 255).round_().to(torch.uint8)


def _resized(images: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    aligned = {"align_corners": False} if mode in ("bilinear", "bicubic") else {}
    return functional.interpolate(images, size, mode=mode, **aligned)
