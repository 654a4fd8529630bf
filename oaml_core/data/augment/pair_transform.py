"""What all transforms of faces with their visibility share: torchvision's v2 interface, a probability, a generator.

A sample is any structure that torchvision's transforms take, with one `tv_tensors.Image` uint8 [3, H, W] in it, and
as many `tv_tensors.Mask` float32 [1, H, W] (visibility in [0, 1], 1 = visible) and `tv_tensors.KeyPoints` [5, 2]
(left eye, right eye, nose, left and right mouth corner, in pixels) as belong to it. All of them are transformed with
the same random numbers, so that a mask stays on its image. The transforms mix with torchvision's own in a
`v2.Compose`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2


class FaceTensors(NamedTuple):
    """A sample as plain tensors."""

    image: Tensor
    """uint8 [3, H, W]."""
    mask: Tensor
    """Visibility, float32 [1, H, W]."""
    landmarks: Tensor | None
    """float32 [5, 2]."""


class PairTransform(v2.Transform):
    """A transform of image, masks and landmarks alike.

    Sub-classes draw in `parameters_of` and say in `on_image`, `on_mask`, `on_landmarks` what becomes of each; what they
    leave out stays as it is.

    Args:
        p: probability that anything is done.
        generator: of everything random; transforms may share one.
    """

    _transformed_types = (tv_tensors.Image, tv_tensors.Mask, tv_tensors.KeyPoints)

    def __init__(self, p: float, generator: torch.Generator) -> None:
        super().__init__()
        self.p = p
        self.generator = generator

    def parameters_of(self, image: Tensor, landmarks: Tensor | None) -> dict[str, Any]:
        """Draw the parameters for one image uint8 [3, H, W] with landmarks [5, 2]; `size` among them is that of the
        result."""
        return {"size": (image.shape[1], image.shape[2])}

    def on_image(self, image: Tensor, params: dict[str, Any]) -> Tensor:
        """Return uint8 [3, H, W] → the same."""
        return image

    def on_mask(self, mask: Tensor, params: dict[str, Any]) -> Tensor:
        """Return float32 [1, H, W] → the same."""
        return mask

    def on_landmarks(self, points: Tensor, params: dict[str, Any]) -> Tensor:
        """Return float32 [5, 2] → the same."""
        return points

    def of_face(self, face: FaceTensors) -> FaceTensors:
        """Transform one face as `forward` does, without searching nested structures; that takes a fifth of the time."""
        if not self._applies():
            return face
        params = self.parameters_of(face.image, face.landmarks)
        return FaceTensors(
            self.on_image(face.image, params),
            self.on_mask(face.mask, params),
            None if face.landmarks is None else self.on_landmarks(face.landmarks, params),
        )

    def forward(self, *inputs: Any) -> Any:
        """Transform a sample, given whole or as several arguments.

        Raises:
            ValueError: the sample has no image, or several.
        """
        if not self._applies():
            return inputs if len(inputs) > 1 else inputs[0]
        return super().forward(*inputs)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        images = [part for part in flat_inputs if isinstance(part, tv_tensors.Image)]
        if len(images) != 1:
            raise ValueError(f"A sample has one tv_tensors.Image, not {len(images)}.")
        landmarks = next((plain(part) for part in flat_inputs if isinstance(part, tv_tensors.KeyPoints)), None)
        return self.parameters_of(plain(images[0]), landmarks)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if isinstance(inpt, tv_tensors.Image):
            return tv_tensors.Image(self.on_image(plain(inpt), params))
        if isinstance(inpt, tv_tensors.Mask):
            return tv_tensors.Mask(self.on_mask(plain(inpt), params))
        return tv_tensors.KeyPoints(self.on_landmarks(plain(inpt), params), canvas_size=params["size"])

    def draw(self, count: int) -> list[float]:
        """Return `count` uniform random numbers in [0, 1)."""
        return torch.rand(count, generator=self.generator).tolist()

    def _applies(self) -> bool:
        return self.p >= 1 or self.draw(1)[0] < self.p


def plain(wrapped: Tensor) -> Tensor:
    """Return the tensor in a tv_tensor: operations on it skip the wrapping."""
    return wrapped.as_subclass(Tensor)
