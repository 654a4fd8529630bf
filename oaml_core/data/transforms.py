"""What is done to a training image: flip, quality augmentation, an occluder; its mask goes along."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oaml_core.config import AugmentConfig
from oaml_core.data.augmenter import Augmenter
from oaml_core.data.occlusion import draw_occluder

MIRRORED = [1, 0, 2, 4, 3]
"""Order of the landmarks in a mirrored face: left and right eye, and left and right mouth corner, change places."""


class TrainTransform:
    """Flip, then an occluder, then crop, colour and resolution as AdaFace does, each with its probability.

    The occluder comes before the camera's faults, so that a blurred or dim picture has a blurred or dim mask on it.
    """

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config
        self.augmenter = Augmenter(config)

    def __call__(
        self,
        image: Tensor,
        landmarks: NDArray[np.float32] | None,
        generator: torch.Generator,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Augment one image; the one given stays as it is.

        Args:
            image: uint8 [3, H, W].
            landmarks: [5, 2] in pixels; None: those of the template.
            generator: of everything random.
            mask: visibility, float32 [1, H, W]; None: all of the image is visible.

        Returns:
            The image uint8 [3, H, W], and its visibility float32 [1, H, W] in [0, 1].
        """
        config = self.config
        flip, occlude, kind = torch.rand(3, generator=generator).tolist()
        if flip < config.flip_prob:
            image, landmarks = flipped(image, landmarks)
            mask = None if mask is None else mask.flip(2)
        if mask is None:
            mask = torch.ones(1, *image.shape[1:])
        if occlude < config.mask_prob and config.occluders:
            chosen = config.occluders[int(kind * len(config.occluders))]
            image, visible = draw_occluder(image, landmarks, chosen, generator)
            mask = mask * visible
        return self.augmenter(image, mask, generator)


def flipped(image: Tensor, landmarks: NDArray[np.float32] | None) -> tuple[Tensor, NDArray[np.float32] | None]:
    """Mirror an image [3, H, W] and its landmarks [5, 2]."""
    mirrored = image.flip(2)
    if landmarks is None:
        return mirrored, None
    points = np.array(landmarks[MIRRORED], dtype=np.float32)
    points[:, 0] = image.shape[2] - 1 - points[:, 0]
    return mirrored, points
