"""Faces of nobody: two training faces blended to one, so that distillation sees more people than there are.

The frozen backbone has an embedding for a blend as for any face, and distillation aims at it. Mixing images for teacher
and student alike is known to help where images are few: Beyer et al., "Knowledge distillation: a good teacher is
patient and consistent", CVPR 2022. A blend is made whenever it is read, and stored nowhere.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oaml_core.config import Config
from oaml_core.data.augment.geometry import MIRRORED
from oaml_core.data.prepared.dataset import FaceDataset
from oaml_core.data.prepared.prepared import PreparedDataset
from oaml_core.errors import DataError

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]

STREAM = 0xB1E4D
"""Keeps these random numbers apart from all others of the same seed."""
EVEN_SHARE = 0.6
"""Share of the blends that are even; the others have the upper part of one face and the lower part of the other."""
EVEN = 0.35, 0.65
"""Least and largest weight of the first face in an even blend."""
EDGE = 0.5, 0.73
"""Least and largest height of the edge between both parts, from the top, in sides of the image: eyes to mouth."""
SOFTNESS = 0.027, 0.08
"""Least and largest width of that edge, in sides of the image: the scale of a logistic curve."""
CONTRAST = 0.5, 2.0
"""Least and largest factor of the second face's contrast on its way to that of the first."""


class BlendedFaces(FaceDataset):
    """The training images of a data set, and behind them blends of two of them, each a person of its own.

    Blend number b is a function of the images, `seed` and b. Both people of a blend are drawn with the same
    probability, whatever the number of their images; half of the second faces are mirrored.

    Args:
        faces: the training images.
        count: blends.
        seed: of everything that is drawn.

    Raises:
        DataError: there are no two people to blend.
    """

    def __init__(self, faces: FaceDataset, count: int, seed: int) -> None:
        super().__init__(faces.folder, faces.image_size, faces.channel_order, faces.files)
        self.count, self.seed = count, seed
        self.known = len(faces.labels)
        people = faces.num_identities
        generator = np.random.default_rng([seed, STREAM])
        self._first, self._second = _two_people(np.asarray(faces.labels), count, generator)
        self._mirrored = generator.random(count) < 0.5
        self.labels = np.concatenate([faces.labels, people + np.arange(count, dtype=np.int64)])
        if faces.landmarks is not None:
            self.landmarks = np.concatenate([faces.landmarks, self._blended_landmarks(faces.landmarks)])

    def read(self, index: int) -> Tensor:
        """Return image or blend number `index` as uint8 [3, H, W], RGB; raises DataError as `FaceDataset.read` does."""
        number = index - self.known
        if number < 0:
            return super().read(index)
        first, second = (super(BlendedFaces, self).read(int(of[number])) for of in (self._first, self._second))
        if self._mirrored[number]:
            second = second.flip(-1)
        drawn = np.random.default_rng([self.seed, STREAM, number])
        return torch.from_numpy(blend(first.numpy(), second.numpy(), drawn))

    def hold(self, images: Iterable[int]) -> None:
        super().hold(image for index in images for image in self._images_of(index))

    def parts_of(self, images: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of the parts that hold `images`; of a blend, the part of its first image."""
        number = images - self.known
        return super().parts_of(np.where(number < 0, images, self._first[np.maximum(number, 0)]))

    def _images_of(self, index: int) -> tuple[int, ...]:
        number = index - self.known
        return (index,) if number < 0 else (int(self._first[number]), int(self._second[number]))

    def _blended_landmarks(self, landmarks: Floats) -> Floats:
        """Return [count, 5, 2]: the middle of both faces' points, or those of the one that has any."""
        first, second = landmarks[self._first], landmarks[self._second]
        mirrored = second[self._mirrored][:, MIRRORED]
        mirrored[..., 0] = self.image_size - 1 - mirrored[..., 0]
        second[self._mirrored] = mirrored
        one = np.where(np.isnan(first), second, first)
        return ((one + np.where(np.isnan(second), one, second)) / 2).astype(np.float32)

    def __reduce__(self) -> tuple[Any, ...]:
        faces = FaceDataset(self.folder, self.image_size, self.channel_order, self.files)
        return BlendedFaces, (faces, self.count, self.seed)


def blend(first: NDArray[np.uint8], second: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """Return a face made of two aligned ones, uint8 [3, H, W].

    The second face is brought to the colours of the first. Both then count everywhere with weights that are drawn, or
    one gives the upper part and the other the lower one, with a soft edge between eyes and mouth.

    Args:
        first, second: uint8 [3, H, W], aligned to the template.
        generator: of the weights.
    """
    one, other = first.astype(np.float32), second.astype(np.float32)
    side = one.shape[1]
    (mean, deviation), (wanted_mean, wanted_deviation) = _colours(other), _colours(one)
    factor = np.clip(wanted_deviation / deviation, *CONTRAST)
    other = other * factor + (wanted_mean - mean * factor)
    if generator.random() < EVEN_SHARE:
        weight = np.full((side, 1), generator.uniform(*EVEN), dtype=np.float32)
    else:
        edge, softness = side * generator.uniform(*EDGE), side * generator.uniform(*SOFTNESS)
        rows = np.arange(side, dtype=np.float32)[:, None]
        weight = (1 / (1 + np.exp((rows - edge) / softness))).astype(np.float32)
        if generator.random() < 0.5:
            weight = 1 - weight
    mixed = other + weight * (one - other)
    made: NDArray[np.uint8] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return made


def with_blended(dataset: PreparedDataset, config: Config) -> PreparedDataset:
    """Return the data set with `data.blended_faces` blends behind its training images.

    Raises:
        DataError: there are no two people to blend.
    """
    count = config.data.blended_faces
    if not count:
        return dataset
    log.info("%d faces are blended of two of the %d training images each", count, len(dataset.train))
    return replace(dataset, train=BlendedFaces(dataset.train, count, config.seed))


def _two_people(
    labels: NDArray[np.int64], count: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of two images of different people, [count] each."""
    people, images_of_each = np.unique(labels, return_counts=True)
    if len(people) < 2:
        raise DataError("data.blended_faces blends two people, and the data set has fewer. Set it to 0.")
    by_person = np.argsort(labels, kind="stable")
    starts = np.cumsum(images_of_each) - images_of_each
    first = generator.integers(len(people), size=count)
    second = (first + generator.integers(1, len(people), size=count)) % len(people)
    one, other = (
        by_person[starts[person] + (generator.random(count) * images_of_each[person]).astype(np.int64)]
        for person in (first, second)
    )
    return one, other


def _colours(face: Floats) -> tuple[Floats, Floats]:
    """Return mean and deviation of each channel, [3, 1, 1], where an aligned face has skin, eyes and mouth.

    A plain channel's deviation is taken as 1.
    """
    side = face.shape[1]
    inner = face[:, side // 4 : -side // 8, side // 4 : -side // 4]
    return inner.mean(axis=(1, 2), keepdims=True), np.maximum(inner.std(axis=(1, 2), keepdims=True), 1)
