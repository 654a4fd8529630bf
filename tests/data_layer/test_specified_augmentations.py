"""The specification's own values of augmentations, where the defaults are others: each is reached by configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors

from oaml_core.config import AugmentConfig
from oaml_core.config.data import check_augment
from oaml_core.data.augment.occlusion_transforms import MedicalMaskOcclusion
from oaml_core.data.augment.transforms import TrainTransform
from oaml_core.errors import ConfigError

GREY = torch.full((3, 112, 112), 128, dtype=torch.uint8)


def augmented(image: Tensor, seed: int, **keys: object) -> tuple[Tensor, Tensor]:
    return TrainTransform(AugmentConfig(flip_prob=0.0, mask_prob=0.0, **keys))(image, None, seed)


def test_erased_rectangles_are_of_the_mean_colour_or_of_noise() -> None:
    for seed in range(5):
        image, visible = augmented(GREY, seed, erasing_prob=1.0, erasing_mean=(0.485, 0.456, 0.406))
        erased = image[:, visible[0] == 0]
        assert erased.shape[1] > 0.01 * 112 * 112
        assert torch.equal(erased.unique(dim=1), torch.tensor([[124], [116], [104]], dtype=torch.uint8))
        assert (image[:, visible[0] == 1] == 128).all()
        noise, visible = augmented(GREY, seed, erasing_prob=1.0)
        assert noise[:, visible[0] == 0].unique(dim=1).shape[1] > 10


@pytest.mark.parametrize(("sides", "least", "most"), [((0.2, 1.0), 0.85, 1.0), ((0.1, 0.3), 0.2, 0.3)])
def test_squares_keep_within_their_sides(sides: tuple[float, float], least: float, most: float) -> None:
    shares = [
        float(1 - augmented(GREY, seed, random_occlusion_prob=1.0, random_occlusion_side=sides)[1].mean()) ** 0.5
        for seed in range(60)
    ]
    assert least < max(shares) <= most + 0.01
    assert min(shares) >= sides[0] - 0.01


def test_the_resolution_can_be_lowered_before_the_colours_change() -> None:
    """Clamped bright pixels tell the order: averaged after the clamp they are grey, before it bright."""
    image = torch.zeros(3, 112, 112, dtype=torch.uint8)
    image[:, :, ::2] = 255
    both = {"photometric_augmentation_prob": 1.0, "low_res_augmentation_prob": 1.0, "low_res_side": (0.5, 0.5)}
    pairs = [
        [augmented(image, seed, low_res_before_colour=first, **both)[0] for first in (False, True)] for seed in range(8)
    ]
    assert any(not torch.equal(colour_first, resolution_first) for colour_first, resolution_first in pairs)
    for alone in both:
        if alone.endswith("prob"):
            one, other = (
                augmented(image, 3, low_res_before_colour=first, **{alone: 1.0})[0] for first in (False, True)
            )
            assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("random_occlusion_side", (0.5, 1.2)),
        ("random_occlusion_side", (0.6, 0.2)),
        ("erasing_mean", (124.0, 116.0, 104.0)),
    ],
)
def test_values_that_cannot_be_are_named(key: str, value: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=f"augment.{key}"):
        check_augment(AugmentConfig(**{key: value}))


@pytest.mark.parametrize(("points", "nose"), [(None, 71.7), ([(56, 90), (40, 100), (70, 100)], 90.0)])
def test_a_mask_picture_begins_25_pixels_above_the_nose(
    tmp_path: Path, points: Sequence[tuple[float, float]] | None, nose: float
) -> None:
    """A JPEG has no alpha: all of it covers. Points are moved a little at random, so the mean is measured."""
    Image.new("RGB", (200, 150), (0, 0, 255)).save(tmp_path / "mask.jpg")
    generator = torch.Generator().manual_seed(0)
    mask = MedicalMaskOcclusion([tmp_path / "mask.jpg"], p=1.0, generator=generator, ref_points=points)
    face, whole = tv_tensors.Image(GREY), tv_tensors.Mask(torch.ones(1, 112, 112))
    tops = [float((mask(face, whole)[1][0] == 0).any(1).nonzero()[0]) for _ in range(60)]
    assert sum(tops) / len(tops) == pytest.approx(nose - 25, abs=2)
