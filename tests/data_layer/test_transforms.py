"""Training transforms: image and mask move together, probabilities are kept, generators decide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from oaml_core.config import AugmentConfig
from oaml_core.data.augment.occlusion import TEMPLATE
from oaml_core.data.augment.transforms import TrainTransform
from oaml_core.errors import DataError

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


def test_crops_and_low_resolution_keep_within_their_ranges() -> None:
    """Of a white face, a crop of at least 0.8 leaves at most 20 % black, and at least some at 0.2."""
    white = torch.full((3, 112, 112), 255, dtype=torch.uint8)
    for least, darkest in (((0.8, 1.0), 0.22), ((0.2, 0.4), 0.85)):
        config = AugmentConfig(mask_prob=0.0, flip_prob=0.0, crop_augmentation_prob=1.0, crop_area=least)
        black = [(TrainTransform(config)(white, None, seed)[0] == 0).float().mean().item() for seed in range(20)]
        assert max(black) < darkest
        assert max(black) > (0.55 if least[1] < 0.8 else 0.01)
    noise = face()
    sharp, dull = (
        AugmentConfig(mask_prob=0.0, flip_prob=0.0, low_res_augmentation_prob=1.0, low_res_side=sides)
        for sides in ((0.95, 1.0), (0.25, 0.75))
    )
    kept, lost = (
        sum((TrainTransform(one)(noise, None, seed)[0].float() - noise.float()).abs().mean() for seed in range(8))
        for one in (sharp, dull)
    )
    assert kept < 0.8 * lost


@pytest.mark.parametrize("size", [112, 224])
def test_images_and_masks_keep_their_form(size: int) -> None:
    transform, given = TrainTransform(EVERYTHING), face(size)
    for seed in range(40):
        image, mask = transform(given, None, seed)
        assert (image.shape, image.dtype) == ((3, size, size), torch.uint8)
        assert (mask.shape, mask.dtype) == ((1, size, size), torch.float32)
        assert mask.min() >= 0
        assert mask.max() <= 1
    assert torch.equal(given, face(size)), "the image that was given stays"


def test_a_generator_decides_everything() -> None:
    transform = TrainTransform(EVERYTHING)
    for seed in range(20):
        one, again = (transform(face(), TEMPLATE, seed) for _ in "12")
        assert torch.equal(one[0], again[0])
        assert torch.equal(one[1], again[1])


def test_an_occluder_goes_where_the_mirrored_face_is() -> None:
    """Landmarks are mirrored with the image: a face at the left edge has its mask at the right one."""
    landmarks = TEMPLATE * 0.5 + np.array([2, 20], np.float32)
    config = AugmentConfig(flip_prob=1.0, mask_prob=1.0, occluders=("surgical",))
    image, mask = TrainTransform(config)(face(), landmarks, 0)
    assert mask[0, :, 56:].mean() < mask[0, :, :56].mean()
    assert torch.equal(image[:, mask[0] == 1], face().flip(2)[:, mask[0] == 1])


def test_a_crop_does_not_uncover_what_an_occluder_covers() -> None:
    config = AugmentConfig(flip_prob=0.0, mask_prob=1.0, crop_augmentation_prob=1.0, occluders=("blocks",))
    uncropped = AugmentConfig(flip_prob=0.0, mask_prob=1.0, occluders=("blocks",))
    for seed in range(20):
        _, cropped = TrainTransform(config)(face(), None, seed)
        _, whole = TrainTransform(uncropped)(face(), None, seed)
        assert (cropped <= whole).all()


def test_colour_and_resolution_leave_the_mask_alone() -> None:
    config = AugmentConfig(mask_prob=0.0, photometric_augmentation_prob=1.0, low_res_augmentation_prob=1.0)
    image, mask = TrainTransform(config)(face(), None, 0)
    assert not torch.equal(image, face())
    assert (mask == 1).all()


def test_nothing_is_done_at_probability_zero() -> None:
    transform = TrainTransform(AugmentConfig(flip_prob=0.0, mask_prob=0.0))
    image, mask = transform(face(), None, 0)
    assert torch.equal(image, face())
    assert (mask == 1).all()


def test_probabilities_are_kept() -> None:
    transform = TrainTransform(AugmentConfig(mask_prob=0.25))
    drawn = sum(bool((transform(face(), None, seed)[1] < 1).any()) for seed in range(200))
    assert 30 < drawn < 70


def test_a_mask_of_its_own_goes_along_and_an_occluder_comes_on_top() -> None:
    given = torch.ones(1, 112, 112)
    given[:, :, :30] = 0
    config = AugmentConfig(flip_prob=1.0, mask_prob=1.0, occluders=("blocks",))
    _, mask = TrainTransform(config)(face(), None, 3, given)
    assert (mask[:, :, -30:] == 0).all()
    assert (mask[:, :, :-30] == 0).any()
    assert (given[:, :, 30:] == 1).all(), "the mask that was given stays"


def test_a_picture_of_the_users_own_is_drawn(tmp_path: Path) -> None:
    picture = np.zeros((40, 60, 4), np.uint8)
    picture[10:30, 15:45] = (255, 0, 255, 255)
    path = tmp_path / "mask.png"
    Image.fromarray(picture).save(path)
    config = AugmentConfig(flip_prob=0.0, mask_prob=1.0, occluders=(), mask_images=(str(path),))
    image, mask = TrainTransform(config)(face(), TEMPLATE, 0)
    inside = image[:, mask[0] == 0].float()
    assert inside.shape[1] > 500
    assert inside[0].min() > 200
    assert inside[1].max() < 5
    assert torch.equal(image[:, mask[0] == 1], face()[:, mask[0] == 1])


def test_a_picture_that_cannot_be_laid_on_is_named(tmp_path: Path) -> None:
    opaque, missing = tmp_path / "opaque.png", tmp_path / "missing.png"
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(opaque)
    for path, problem in ((opaque, "opaque.png is transparent"), (missing, "There is no image .*missing.png")):
        config = AugmentConfig(mask_prob=1.0, occluders=(), mask_images=(str(path),))
        with pytest.raises(DataError, match=problem):
            TrainTransform(config)(face(), None, 0)
