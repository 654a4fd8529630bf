"""Transforms that replace a rectangle anywhere in the image, whatever it shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from oaml_core.data.augment.geometry import random_rectangle
from oaml_core.data.augment.pair_transform import PairTransform


class _Covering(PairTransform):
    """Puts `params["colour"]` into `params["box"]` (top, left, height, width)."""

    def on_image(self, image: Tensor, params: dict[str, Any]) -> Tensor:
        return covered(image, params["box"], params["colour"])

    def on_mask(self, mask: Tensor, params: dict[str, Any]) -> Tensor:
        return covered(mask, params["box"], 0)


class RandomOcclusion(_Covering):
    """One square of a random colour anywhere in the image.

    The training of QAConv (Liao & Shao 2020) goes up to the whole image; a face of which nothing is seen teaches
    nothing.

    Args:
        p, generator: see `PairTransform`.
        sides: least and largest side, as shares of the image's shorter one.
    """

    def __init__(self, p: float, generator: torch.Generator, sides: tuple[float, float] = (0.2, 0.8)) -> None:
        super().__init__(p, generator)
        self.sides = sides

    def parameters_of(self, image: Tensor, landmarks: Tensor | None) -> dict[str, Any]:
        height, width = image.shape[1:]
        share, top, left, *colour = self.draw(6)
        side = round((self.sides[0] + (self.sides[1] - self.sides[0]) * share) * min(height, width))
        box = int(top * (height - side + 1)), int(left * (width - side + 1)), side, side
        colours = torch.tensor(colour).mul(256).to(torch.uint8)[:, None, None]
        return super().parameters_of(image, landmarks) | {"box": box, "colour": colours}


class RandomErasing(_Covering):
    """Replace a random rectangle, 2 to 40 % of the image, width by height 0.3 to 3.3.

    As in Zhong et al., "Random Erasing Data Augmentation", 2020.

    Args:
        p, generator: see `PairTransform`.
        mean: colour that is put there, red, green and blue in [0, 1]; None: noise.
    """

    area = (0.02, 0.4)
    aspect = (0.3, 1 / 0.3)

    def __init__(self, p: float, generator: torch.Generator, mean: Sequence[float] | None = None) -> None:
        super().__init__(p, generator)
        self.mean = mean

    def parameters_of(self, image: Tensor, landmarks: Tensor | None) -> dict[str, Any]:
        box = random_rectangle(self, (image.shape[1], image.shape[2])) or (0, 0, 0, 0)
        if self.mean is None:
            colour = torch.randint(0, 256, (3, *box[2:]), dtype=torch.uint8, generator=self.generator)
        else:
            colour = torch.tensor(self.mean).mul(255).round().to(torch.uint8)[:, None, None]
        return super().parameters_of(image, landmarks) | {"box": box, "colour": colour}


def covered(pixels: Tensor, box: tuple[int, int, int, int], colour: Tensor | int) -> Tensor:
    """Return pixels [C, H, W] with `colour` in a box (top, left, height, width)."""
    top, left, height, width = box
    result = pixels.clone()
    result[:, top : top + height, left : left + width] = colour
    return result
