"""What all transforms of faces with their visibility share: torchvision's v2 interface, a probability, a generator.

A sample is any structure that torchvision's transforms take, with one `tv_tensors.Image` uint8 [3, H, W] in it, and
as many `tv_tensors.Mask` float32 [1, H, W] (visibility in [0, 1], 1 = visible) and `tv_tensors.KeyPoints` [5, 2]
(left eye, right eye, nose, left and right mouth corner, in pixels) as belong to it. All of them are transformed with
the same random numbers, so that a mask stays on its image. The transforms mix with torchvision's own in a
`v2.Compose`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

T = TypeVar("T", bound=tv_tensors.TVTensor)


class PairTransform(v2.Transform):
    """A transform of image, masks and landmarks alike. Sub-classes draw in `make_params` and apply in `transform`.

    Args:
        p: probability that anything is done.
        generator: of everything random; transforms may share one.
    """

    _transformed_types = (tv_tensors.Image, tv_tensors.Mask, tv_tensors.KeyPoints)

    def __init__(self, p: float, generator: torch.Generator) -> None:
        super().__init__()
        self.p = p
        self.generator = generator

    def forward(self, *inputs: Any) -> Any:
        """Transform a sample, given whole or as several arguments."""
        if self.p < 1 and self.draw(1)[0] >= self.p:
            return inputs if len(inputs) > 1 else inputs[0]
        return super().forward(*inputs)

    def draw(self, count: int) -> list[float]:
        """So many uniform random numbers in [0, 1)."""
        return torch.rand(count, generator=self.generator).tolist()


def plain(wrapped: Tensor) -> Tensor:
    """The tensor in a tv_tensor: operations on it skip the wrapping."""
    return wrapped.as_subclass(Tensor)


def like(wrapped: T, tensor: Tensor) -> T:
    """`tensor` as the same kind of tv_tensor as `wrapped`."""
    return tv_tensors.wrap(tensor, like=wrapped)


def image_of(parts: list[Any]) -> Tensor:
    """The image [3, H, W] of a sample.

    Raises:
        ValueError: the sample has none, or several.
    """
    images = [part for part in parts if isinstance(part, tv_tensors.Image)]
    if len(images) != 1:
        raise ValueError(f"A sample has one tv_tensors.Image, not {len(images)}.")
    return plain(images[0])


def size_of(parts: list[Any]) -> tuple[int, int]:
    """Height and width of a sample's image; raises what `image_of` raises."""
    image = image_of(parts)
    return image.shape[1], image.shape[2]


def landmarks_of(parts: list[Any]) -> Tensor | None:
    """The landmarks [5, 2] of a sample, None if it has none."""
    return next((plain(part) for part in parts if isinstance(part, tv_tensors.KeyPoints)), None)
