"""Faults of cameras and of the files that they write: blur and JPEG compression of the whole picture."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from oaml_core.data.augment.pair_transform import PairTransform

WIDTHS = (0.5, 1.6)
"""Deviation of the blur in pixels of an image of 112 × 112."""
QUALITIES = (25, 90)
"""Range of JPEG qualities, as Pillow counts them."""


class Camera(PairTransform):
    """Blur, JPEG, or both, of a face and what covers it alike; visibility stays as it is.

    Args:
        p, generator: see `PairTransform`.
    """

    def parameters_of(self, image: Tensor, landmarks: Tensor | None) -> dict[str, Any]:
        which, width, quality = self.draw(3)
        return super().parameters_of(image, landmarks) | {
            "width": None if which > 0.67 else WIDTHS[0] + (WIDTHS[1] - WIDTHS[0]) * width,
            "quality": None if which < 0.33 else round(QUALITIES[0] + (QUALITIES[1] - QUALITIES[0]) * quality),
        }

    def on_image(self, image: Tensor, params: dict[str, Any]) -> Tensor:
        if params["width"] is not None:
            image = blurred(image, params["width"] * image.shape[1] / 112)
        return image if params["quality"] is None else compressed(image, params["quality"])


def blurred(image: Tensor, width: float) -> Tensor:
    """Return a uint8 image [3, H, W] under a Gaussian of so many pixels' deviation."""
    reach = max(1, round(2 * width))
    places = torch.arange(-reach, reach + 1, dtype=torch.float32)
    weights = torch.exp(-0.5 * (places / width) ** 2)
    weights /= weights.sum()
    pixels = functional.pad(image[:, None].float(), (reach,) * 4, mode="replicate")
    pixels = functional.conv2d(functional.conv2d(pixels, weights[None, None, None]), weights[None, None, :, None])
    return torch.from_numpy(pixels[:, 0].add_(0.5).clamp_(0, 255).numpy().astype(np.uint8))


def compressed(image: Tensor, quality: int) -> Tensor:
    """Return a uint8 image [3, H, W], written as JPEG and read again."""
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, format="JPEG", quality=quality)
    with Image.open(file) as written:
        return torch.from_numpy(np.asarray(written.convert("RGB")).transpose(2, 0, 1).copy())
