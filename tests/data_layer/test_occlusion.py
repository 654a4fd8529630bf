"""Occluders and training transforms: what changes, what the mask says, and that both move together."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from oaml_core.config import AugmentConfig, Occluder
from oaml_core.data.occluder_artwork import ARTWORK
from oaml_core.data.occlusion import TEMPLATE, draw_occluder
from oaml_core.data.transforms import TrainTransform
from oaml_core.losses.visibility import resize_visibility

KINDS = get_args(Occluder)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def face(size: int = 112) -> Tensor:
    return torch.randint(0, 256, (3, size, size), generator=generator(9), dtype=torch.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [112, 224])
def test_the_mask_says_what_changed(kind: Occluder, size: int) -> None:
    image = face(size)
    covered, mask = draw_occluder(image, None, kind, generator())
    assert covered.dtype == torch.uint8
    assert mask.shape == (1, size, size)
    assert mask.min() >= 0
    assert mask.max() == 1
    changed = (covered != image).any(0)
    assert not changed[mask[0] == 1].any(), "what is visible is as it was"
    assert changed[mask[0] == 0].float().mean() > 0.9
    assert torch.equal(image, face(size)), "the image that was given stays"


@pytest.mark.parametrize("kind", KINDS)
def test_a_generator_decides_everything(kind: Occluder) -> None:
    one, again, other = (draw_occluder(face(), None, kind, generator(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_masks_cover_the_mouth_and_sunglasses_the_eyes_wherever_the_face_is() -> None:
    moved = TEMPLATE + np.array([6, -6], np.float32)
    for kind in ("surgical", "cloth", "ffp2", "sunglasses"):
        _, mask = draw_occluder(face(), moved, kind, generator())
        points = moved[:2] if kind == "sunglasses" else moved[3:].mean(0, keepdims=True)
        for x, y in points.round().astype(int):
            assert mask[0, y - 2 : y + 3, x - 2 : x + 3].mean() < 0.3, kind


def test_blocks_cover_ten_to_forty_percent_at_most() -> None:
    shares = [1 - draw_occluder(face(), None, "blocks", generator(seed))[1].mean().item() for seed in range(60)]
    assert max(shares) < 0.42
    assert 0.1 < np.mean(shares) < 0.3


def test_coverage_on_the_feature_map_is_the_exact_area() -> None:
    _, mask = draw_occluder(face(), None, "blocks", generator(4))
    places = mask.reshape(7, 16, 7, 16).mean((1, 3))
    torch.testing.assert_close(resize_visibility(mask[None], (7, 7))[0, 0], places)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "blocks"])
def test_models_are_tested_on_artwork_that_training_never_draws(kind: Occluder) -> None:
    assert set(ARTWORK[kind].train).isdisjoint(ARTWORK[kind].test)


def test_an_occluder_goes_where_the_mirrored_face_is() -> None:
    """Landmarks are mirrored with the image: a face at the left edge has its mask at the right one."""
    landmarks = TEMPLATE * 0.5 + np.array([2, 20], np.float32)
    config = AugmentConfig(flip_prob=1.0, mask_prob=1.0, occluders=("surgical",))
    image, mask = TrainTransform(config)(face(), landmarks, generator())
    assert mask[0, :, 56:].mean() < mask[0, :, :56].mean()
    assert torch.equal(image[:, mask[0] == 1], face().flip(2)[:, mask[0] == 1])


def test_without_an_occluder_everything_is_visible() -> None:
    config = AugmentConfig(
        mask_prob=0.0, crop_augmentation_prob=1.0, photometric_augmentation_prob=1.0, low_res_augmentation_prob=1.0
    )
    image, mask = TrainTransform(config)(face(), None, generator())
    assert image.shape == (3, 112, 112)
    assert image.dtype == torch.uint8
    assert not torch.equal(image, face())
    assert (mask == 1).all()


def test_probabilities_are_kept() -> None:
    transform = TrainTransform(AugmentConfig(mask_prob=0.25))
    drawn = sum(bool((transform(face(), None, generator(seed))[1] < 1).any()) for seed in range(200))
    assert 30 < drawn < 70
