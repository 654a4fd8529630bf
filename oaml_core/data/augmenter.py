"""Quality augmentation of AdaFace (Kim et al. 2022, section 4.1): crop with zero padding, colour, low resolution."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from oaml_core.config import AugmentConfig

CROP_AREA, CROP_ASPECT = (0.2, 1.0), (3 / 4, 4 / 3)
"""Share of the image that a crop keeps, and its width by height."""
FACTORS = (0.5, 1.5)
"""Of brightness, contrast and saturation."""
SMALLEST_SIDE = 0.2
"""Share of the side that low resolution shrinks to at least."""
LUMA = (0.299, 0.587, 0.114)
INTERPOLATIONS = ("nearest", "bilinear", "area", "bicubic")


class Augmenter:
    """Crop, colour and resolution, each with its own probability, in this order."""

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config

    def __call__(self, image: Tensor, mask: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augment one image.

        Args:
            image: uint8 [3, H, W].
            mask: visibility, float32 [1, H, W]; what a crop blackens is no longer visible.
            generator: of everything random.
        """
        config = self.config
        crop, colour, resolution = torch.rand(3, generator=generator).tolist()
        if crop < config.crop_augmentation_prob:
            image, mask = zero_padded_crop(image, mask, generator)
        if colour < config.photometric_augmentation_prob:
            image = photometric(image, generator)
        if resolution < config.low_res_augmentation_prob:
            image = low_resolution(image, generator)
        return image, mask


def zero_padded_crop(image: Tensor, mask: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Keep a random rectangle of 20 to 100 % of the area where it is, and blacken the rest.

    The rest shows no face any more, so its visibility becomes 0, as under a black block.
    """
    share, shape, top, left = torch.rand(4, generator=generator).tolist()
    height, width = image.shape[1:]
    area = CROP_AREA[0] + (CROP_AREA[1] - CROP_AREA[0]) * share
    aspect = CROP_ASPECT[0] * (CROP_ASPECT[1] / CROP_ASPECT[0]) ** shape
    high = min(height, max(1, round(height * (area / aspect) ** 0.5)))
    wide = min(width, max(1, round(width * (area * aspect) ** 0.5)))
    y, x = int(top * (height - high + 1)), int(left * (width - wide + 1))
    kept, visible = torch.zeros_like(image), torch.zeros_like(mask)
    kept[:, y : y + high, x : x + wide] = image[:, y : y + high, x : x + wide]
    visible[:, y : y + high, x : x + wide] = mask[:, y : y + high, x : x + wide]
    return kept, visible


def photometric(image: Tensor, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation by random factors in [0.5, 1.5]."""
    low, high = FACTORS
    brightness, contrast, saturation = (low + (high - low) * torch.rand(3, generator=generator)).tolist()
    pixels = image.float().mul_(brightness).clamp_(0, 255)
    luma = pixels.new_tensor(LUMA)[:, None, None]
    middle = float((pixels.mean((1, 2), keepdim=True) * luma).sum())
    pixels.mul_(contrast).add_(middle * (1 - contrast)).clamp_(0, 255)
    grey = (pixels * luma).sum(0, keepdim=True)
    return torch.lerp(grey, pixels, saturation).clamp_(0, 255).round_().to(torch.uint8)


def low_resolution(image: Tensor, generator: torch.Generator) -> Tensor:
    """Shrink to 20 to 100 % of the side and enlarge again, each with a random interpolation."""
    ratio, down, up = torch.rand(3, generator=generator).tolist()
    share = SMALLEST_SIDE + (1 - SMALLEST_SIDE) * ratio
    height, width = image.shape[1:]
    modes = INTERPOLATIONS[int(down * len(INTERPOLATIONS))], INTERPOLATIONS[int(up * len(INTERPOLATIONS))]
    small = _resized(image[None].float(), (max(1, round(height * share)), max(1, round(width * share))), modes[0])
    return _resized(small, (height, width), modes[1])[0].clamp_(0, 255).round_().to(torch.uint8)


def _resized(images: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    aligned = {"align_corners": False} if mode in ("bilinear", "bicubic") else {}
    return functional.interpolate(images, size, mode=mode, **aligned)
