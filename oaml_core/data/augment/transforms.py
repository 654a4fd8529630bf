"""What is done to a training image, as the configuration says; its visibility goes along."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oaml_core.config import AugmentConfig
from oaml_core.data.augment.augmenter import Augmenter
from oaml_core.data.augment.camera import Camera
from oaml_core.data.augment.cutouts import Cutouts
from oaml_core.data.augment.geometry import Misalignment, PhotographEdge, RandomFlip, RandomSizedRectCrop
from oaml_core.data.augment.occlusion_transforms import FaceOcclusion
from oaml_core.data.augment.pair_transform import FaceTensors, PairTransform
from oaml_core.data.augment.rectangles import RandomErasing, RandomOcclusion


class TrainTransform:
    """Flip and crop, then occluders, then crop, colour and resolution as AdaFace does, each with its probability.

    Occluders come before the camera's faults, so that a blurred or dim picture has a blurred or dim mask on it.

    Args:
        config: probabilities and what is drawn.
        image_size: side of the images in pixels.
        cutouts: the user's cut-outs (`data.occluders`); None: there are none.

    Example:
        >>> import oaml_core as oaml
        >>> transform = oaml.TrainTransform(oaml.Config().augment)
    """

    def __init__(self, config: AugmentConfig, image_size: int = 112, cutouts: Cutouts | None = None) -> None:
        self._generator = generator = torch.Generator()
        kinds: list[str | Path] = [*config.occluders, *map(Path, config.mask_images)]
        quality = (
            config.crop_augmentation_prob,
            config.photometric_augmentation_prob,
            config.low_res_augmentation_prob,
        )
        steps: list[PairTransform] = [
            RandomFlip(config.flip_prob, generator),
            RandomSizedRectCrop(image_size, image_size, p=config.rect_crop_prob, generator=generator),
            FaceOcclusion(
                kinds,
                p=config.mask_prob if kinds or (cutouts and config.cutout_share) else 0.0,
                generator=generator,
                cutouts=cutouts,
                cutout_share=config.cutout_share,
                combination_share=config.combination_share,
                shadow_prob=config.shadow_prob,
                dye_prob=config.dye_prob,
            ),
            RandomOcclusion(config.random_occlusion_prob, generator, config.random_occlusion_side),
            RandomErasing(config.erasing_prob, generator, config.erasing_mean),
            PhotographEdge(config.edge_prob, generator),
            Camera(config.camera_prob, generator),
            Misalignment(config.misalignment_prob, generator),
        ]
        self.steps = [step for step in steps if step.p > 0]
        self._uncovering = sum(step.p > 0 for step in steps[:2])
        """Steps at the start that move the face and cover nothing."""
        if any(quality):
            self.steps.append(
                Augmenter(
                    *quality,
                    crop_area=config.crop_area,
                    low_res_side=config.low_res_side,
                    low_res_before_colour=config.low_res_before_colour,
                    generator=generator,
                )
            )

    def __call__(
        self, image: Tensor, landmarks: NDArray[np.float32] | None, seed: int, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Augment one image; the one given stays as it is.

        See `views` for the arguments.

        Returns:
            The image uint8 [3, H, W], and its visibility float32 [1, H, W] in [0, 1].
        """
        image, visible, _ = self.views(image, landmarks, seed, mask)
        return image, visible

    def views(
        self, image: Tensor, landmarks: NDArray[np.float32] | None, seed: int, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Augment one image, and keep what it was before cover and loss of quality.

        Args:
            image: uint8 [3, H, W].
            landmarks: [5, 2] in pixels; None: those of the template.
            seed: of everything random.
            mask: visibility, float32 [1, H, W] in [0, 1]; None: all of the image is visible.

        Returns:
            The image uint8 [3, H, W]; its visibility float32 [1, H, W] in [0, 1]; and the image uint8 [3, H, W] that is
            flipped and cropped likewise, but neither covered nor made worse.
        """
        self._generator.manual_seed(seed)
        height, width = image.shape[1:]
        visible = torch.ones(1, height, width) if mask is None else mask
        points = None if landmarks is None else torch.from_numpy(np.array(landmarks, dtype=np.float32))
        face = FaceTensors(image, visible, points)
        clean = image
        for number, step in enumerate(self.steps, start=1):
            face = step.of_face(face)
            if number == self._uncovering:
                clean = face.image
        return face.image, face.mask, clean
