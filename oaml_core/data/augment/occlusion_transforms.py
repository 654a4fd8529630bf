"""Transforms that cover part of a face and say so in its mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from oaml_core.config import Occluder
from oaml_core.data.augment.geometry import random_rectangle
from oaml_core.data.augment.occluder_artwork import Split
from oaml_core.data.augment.occlusion import draw_occluder
from oaml_core.data.augment.pair_transform import PairTransform


class FaceOcclusion(PairTransform):
    """Draw one of several occluders on the face, where its landmarks say or where aligned faces have theirs.

    Args:
        kinds: what is drawn, each with the same probability; a path is a picture of the user's own with transparency,
            which is laid on like a medical mask.
        p, generator: see `PairTransform`.
        split: whose artwork is taken; `train` and `test` share none.
    """

    def __init__(
        self,
        kinds: Sequence[Occluder | Path],
        *,
        p: float = 0.5,
        generator: torch.Generator,
        split: Split = "train",
    ) -> None:
        super().__init__(p, generator)
        self.kinds = tuple(kinds)
        self.split = split

    def parameters_of(self, image: Tensor, landmarks: Tensor | None) -> dict[str, Any]:
        kind = self.kinds[int(self.draw(1)[0] * len(self.kinds))]
        covered, visible = draw_occluder(image, landmarks, kind, self.generator, self.split)
        return super().parameters_of(image, landmarks) | {"image": covered, "visible": visible}

    def on_image(self, image: Tensor, params: dict[str, Any]) -> Tensor:
        result: Tensor = params["image"]
        return result

    def on_mask(self, mask: Tensor, params: dict[str, Any]) -> Tensor:
        result: Tensor = mask * params["visible"]
        return result


class MedicalMaskOcclusion(FaceOcclusion):
    """A medical mask: surgical, of cloth, or FFP2, or the user's own `pictures` instead.

    Example:
        >>> import torch
        >>> from torchvision import tv_tensors
        >>> import oaml_core as oaml
        >>> face = tv_tensors.Image(torch.rand(3, 112, 112))
        >>> mask = oaml.MedicalMaskOcclusion(p=1.0, generator=torch.Generator().manual_seed(0))
        >>> image, visible = mask(face, tv_tensors.Mask(torch.ones(1, 112, 112)))
        >>> 0.1 < float(visible.mean()) < 0.9
        True
    """

    def __init__(
        self,
        pictures: Sequence[Path] = (),
        *,
        p: float = 0.5,
        generator: torch.Generator,
        split: Split = "train",
    ) -> None:
        super().__init__(pictures or ("surgical", "cloth", "ffp2"), p=p, generator=generator, split=split)


class SyntheticOcclusion(FaceOcclusion):
    """One to three rectangles that cover 10 to 40 % of the image together, width by height 0.7 to 1.4, each black or of
    a random colour. They end at whole pixels, so that the visible share of every place of the feature map is exact.

    Example:
        >>> import torch
        >>> from torchvision import tv_tensors
        >>> import oaml_core as oaml
        >>> face = tv_tensors.Image(torch.rand(3, 112, 112))
        >>> blocks = oaml.SyntheticOcclusion(p=1.0, generator=torch.Generator().manual_seed(0))
        >>> image, visible = blocks(face, tv_tensors.Mask(torch.ones(1, 112, 112)))
        >>> 0.6 <= float(visible.mean()) <= 0.9
        True
    """

    def __init__(self, *, p: float = 0.5, generator: torch.Generator) -> None:
        super().__init__(("blocks",), p=p, generator=generator)


class _Covering(PairTransform):
    """Puts `params["colour"]` into `params["box"]` (top, left, height, width)."""

    def on_image(self, image: Tensor, params: dict[str, Any]) -> Tensor:
        return covered(image, params["box"], params["colour"])

    def on_mask(self, mask: Tensor, params: dict[str, Any]) -> Tensor:
        return covered(mask, params["box"], 0)


class RandomOcclusion(_Covering):
    """One square of a random colour anywhere in the image, its side 20 to 80 % of the image's shorter one.

    As the training of QAConv does (Liao & Shao 2020), which goes up to the whole image; a face of which nothing is seen
    teaches nothing.
    """

    sides = (0.2, 0.8)

    def parameters_of(self, image: Tensor, landmarks: Tensor | None) -> dict[str, Any]:
        height, width = image.shape[1:]
        share, top, left, *colour = self.draw(6)
        side = round((self.sides[0] + (self.sides[1] - self.sides[0]) * share) * min(height, width))
        box = int(top * (height - side + 1)), int(left * (width - side + 1)), side, side
        colours = torch.tensor(colour).mul(256).to(torch.uint8)[:, None, None]
        return super().parameters_of(image, landmarks) | {"box": box, "colour": colours}


class RandomErasing(_Covering):
    """Replace a random rectangle by noise (Zhong et al., "Random Erasing Data Augmentation", 2020): 2 to 40 % of the
    image, width by height 0.3 to 3.3."""

    area = (0.02, 0.4)
    aspect = (0.3, 1 / 0.3)

    def parameters_of(self, image: Tensor, landmarks: Tensor | None) -> dict[str, Any]:
        box = random_rectangle(self, (image.shape[1], image.shape[2])) or (0, 0, 0, 0)
        noise = torch.randint(0, 256, (3, *box[2:]), dtype=torch.uint8, generator=self.generator)
        return super().parameters_of(image, landmarks) | {"box": box, "colour": noise}


def covered(pixels: Tensor, box: tuple[int, int, int, int], colour: Tensor | int) -> Tensor:
    """Pixels [C, H, W] with `colour` in a box (top, left, height, width)."""
    top, left, height, width = box
    result = pixels.clone()
    result[:, top : top + height, left : left + width] = colour
    return result
