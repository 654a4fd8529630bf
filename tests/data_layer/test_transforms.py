"""Training transforms: image and mask move together, probabilities are kept, generators decide."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from oaml_core.config import AugmentConfig
from oaml_core.data.augmenter import low_resolution, photometric, zero_padded_crop
from oaml_core.data.occlusion import TEMPLATE
from oaml_core.data.transforms import TrainTransform, flipped

EVERYTHING = AugmentConfig(
    flip_prob=0.5,
    crop_augmentation_prob=0.5,
    photometric_augmentation_prob=0.5,
    low_res_augmentation_prob=0.5,
    mask_prob=0.5,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def face(size: int = 112) -> Tensor:
    return torch.randint(1, 256, (3, size, size), generator=generator(9), dtype=torch.uint8)


@pytest.mark.parametrize("size", [112, 224])
def test_images_and_masks_keep_their_form(size: int) -> None:
    transform, given = TrainTransform(EVERYTHING), face(size)
    for seed in range(40):
        image, mask = transform(given, None, generator(seed))
        assert (image.shape, image.dtype) == ((3, size, size), torch.uint8)
        assert (mask.shape, mask.dtype) == ((1, size, size), torch.float32)
        assert mask.min() >= 0
        assert mask.max() <= 1
    assert torch.equal(given, face(size)), "the image that was given stays"


def test_a_generator_decides_everything() -> None:
    transform = TrainTransform(EVERYTHING)
    for seed in range(20):
        one, again = (transform(face(), TEMPLATE, generator(seed)) for _ in "12")
        assert torch.equal(one[0], again[0])
        assert torch.equal(one[1], again[1])


def test_an_occluder_goes_where_the_mirrored_face_is() -> None:
    """Landmarks are mirrored with the image: a face at the left edge has its mask at the right one."""
    landmarks = TEMPLATE * 0.5 + np.array([2, 20], np.float32)
    config = AugmentConfig(flip_prob=1.0, mask_prob=1.0, occluders=("surgical",))
    image, mask = TrainTransform(config)(face(), landmarks, generator())
    assert mask[0, :, 56:].mean() < mask[0, :, :56].mean()
    assert torch.equal(image[:, mask[0] == 1], face().flip(2)[:, mask[0] == 1])


def test_a_mirrored_face_has_its_left_eye_on_the_left_again() -> None:
    image, landmarks = flipped(face(), TEMPLATE)
    assert landmarks is not None
    assert landmarks[0, 0] < landmarks[1, 0]
    assert landmarks[3, 0] < landmarks[4, 0]
    back, same = flipped(image, landmarks)
    assert torch.equal(back, face())
    np.testing.assert_allclose(same, TEMPLATE, atol=1e-4)
    marked = torch.zeros(3, 112, 112, dtype=torch.uint8)
    marked[:, 60, 20] = 255
    mirrored, moved = flipped(marked, np.tile(np.array([20, 60], np.float32), (5, 1)))
    assert moved is not None
    x, y = moved[0].astype(int)
    assert mirrored[0, y, x] == 255


def test_what_a_crop_blackens_is_not_visible() -> None:
    for seed in range(20):
        image, mask = zero_padded_crop(face(), torch.ones(1, 112, 112), generator(seed))
        assert torch.equal(mask[0] == 0, (image == 0).all(0))
        assert torch.equal(image[:, mask[0] == 1], face()[:, mask[0] == 1])
        assert 0.15 < mask.mean() <= 1


def test_a_crop_does_not_uncover_what_an_occluder_covers() -> None:
    config = AugmentConfig(flip_prob=0.0, mask_prob=1.0, crop_augmentation_prob=1.0, occluders=("blocks",))
    uncropped = AugmentConfig(flip_prob=0.0, mask_prob=1.0, occluders=("blocks",))
    for seed in range(20):
        _, cropped = TrainTransform(config)(face(), None, generator(seed))
        _, whole = TrainTransform(uncropped)(face(), None, generator(seed))
        assert (cropped <= whole).all()


def test_colour_and_resolution_leave_the_mask_alone() -> None:
    config = AugmentConfig(mask_prob=0.0, photometric_augmentation_prob=1.0, low_res_augmentation_prob=1.0)
    image, mask = TrainTransform(config)(face(), None, generator())
    assert not torch.equal(image, face())
    assert (mask == 1).all()


def test_colours_change_and_low_resolution_loses_detail() -> None:
    detail = [
        (low_resolution(face(), generator(seed)).float().std() / face().float().std()).item() for seed in range(9)
    ]
    assert min(detail) < 0.8
    assert max(detail) <= 1.1
    means = [photometric(face(), generator(seed)).float().mean().item() for seed in range(20)]
    assert min(means) < face().float().mean() - 10 < face().float().mean() + 10 < max(means)


def test_nothing_is_done_at_probability_zero() -> None:
    transform = TrainTransform(AugmentConfig(flip_prob=0.0, mask_prob=0.0))
    image, mask = transform(face(), None, generator())
    assert torch.equal(image, face())
    assert (mask == 1).all()


def test_probabilities_are_kept() -> None:
    transform = TrainTransform(AugmentConfig(mask_prob=0.25))
    drawn = sum(bool((transform(face(), None, generator(seed))[1] < 1).any()) for seed in range(200))
    assert 30 < drawn < 70
