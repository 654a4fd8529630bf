"""What is done to a training image: flip, quality augmentation, an occluder; its mask goes along."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from oaml_core.config import AugmentConfig
from oaml_core.data.occlusion import draw_occluder

MIRRORED = [1, 0, 2, 4, 3]
"""Order of the landmarks in a mirrored face."""


class TrainTransform:
    """Flip, then crop, colour and resolution as AdaFace does, then an occluder, each with its probability."""

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config

    def __call__(
        self, image: Tensor, landmarks: NDArray[np.float32] | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Augment one image.

        Args:
            image: uint8 [3, H, W].
            landmarks: [5, 2] in pixels; None: those of the template.
            generator: of everything random.

        Returns:
            The image uint8 [3, H, W], and its visibility float32 [1, H, W] in [0, 1].
        """
        config = self.config
        flip, crop, colour, resolution, mask, kind = torch.rand(6, generator=generator).tolist()
        if flip < config.flip_prob:
            image = image.flip(2)
            landmarks = None if landmarks is None else _mirrored(landmarks, image.shape[2])
        if crop < config.crop_augmentation_prob:
            image = zero_padded_crop(image, generator)
        if colour < config.photometric_augmentation_prob:
            image = photometric(image, generator)
        if resolution < config.low_res_augmentation_prob:
            image = low_resolution(image, generator)
        if mask < config.mask_prob and config.occluders:
            chosen = config.occluders[int(kind * len(config.occluders))]
            return draw_occluder(image, landmarks, chosen, generator)
        return image, torch.ones(1, *image.shape[1:])


def zero_padded_crop(image: Tensor, generator: torch.Generator) -> Tensor:
    """Keep a random rectangle of 20 to 100 % of the area where it is, and blacken the rest (AdaFace, section 4.1)."""
    share, aspect, top, left = torch.rand(4, generator=generator).tolist()
    height, width = image.shape[1:]
    area, ratio = 0.2 + 0.8 * share, (3 / 4) * (16 / 9) ** aspect
    high = min(height, max(1, round(height * (area / ratio) ** 0.5)))
    wide = min(width, max(1, round(width * (area * ratio) ** 0.5)))
    y, x = int(top * (height - high + 1)), int(left * (width - wide + 1))
    kept = torch.zeros_like(image)
    kept[:, y : y + high, x : x + wide] = image[:, y : y + high, x : x + wide]
    return kept


def photometric(image: Tensor, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation by random factors in [0.5, 1.5]."""
    brightness, contrast, saturation = (0.5 + torch.rand(3, generator=generator)).tolist()
    pixels = image.float() * brightness
    pixels = pixels.mean() * (1 - contrast) + pixels * contrast
    grey = (pixels * pixels.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0, keepdim=True)
    return (grey * (1 - saturation) + pixels * saturation).clamp(0, 255).round().to(torch.uint8)


def low_resolution(image: Tensor, generator: torch.Generator) -> Tensor:
    """Shrink to 20 to 100 % of the side and enlarge again, each with a random interpolation."""
    ratio, down, up = torch.rand(3, generator=generator).tolist()
    modes = ("nearest", "bilinear", "area", "bicubic")
    size = [max(1, round(side * (0.2 + 0.8 * ratio))) for side in image.shape[1:]]
    small = _resized(image[None].float(), size, modes[int(down * 4)])
    return _resized(small, list(image.shape[1:]), modes[int(up * 4)])[0].clamp(0, 255).round().to(torch.uint8)


def _resized(images: Tensor, size: list[int], mode: str) -> Tensor:
    aligned = {"align_corners": False} if mode in ("bilinear", "bicubic") else {}
    return functional.interpolate(images, size, mode=mode, **aligned)


def _mirrored(landmarks: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    points = np.array(landmarks[MIRRORED])
    points[:, 0] = width - 1 - points[:, 0]
    return points
