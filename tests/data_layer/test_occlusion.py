"""Occluders: what changes, what the mask says, and where they go."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from oaml_core.config.occluders import DRAWN
from oaml_core.data.augment.occluder_artwork import artwork_of
from oaml_core.data.augment.occlusion import TEMPLATE, aligned_landmarks, draw_occluder
from oaml_core.visibility import resize_visibility

KINDS = DRAWN


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def face(size: int = 112) -> Tensor:
    return torch.randint(0, 256, (3, size, size), generator=generator(9), dtype=torch.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [112, 224])
def test_the_mask_says_what_changed(kind: str, size: int) -> None:
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
def test_a_generator_decides_everything(kind: str) -> None:
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
def test_models_are_tested_on_artwork_that_training_never_draws(kind: str) -> None:
    train, test = artwork_of(kind).train, artwork_of(kind).test
    assert {style.shape for style in train}.isdisjoint(style.shape for style in test)
    assert {style.colour for style in train}.isdisjoint(style.colour for style in test)
    trained, tested = (
        [draw_occluder(face(), None, kind, generator(seed), split)[0] for seed in range(4)]
        for split in ("train", "test")
    )
    assert not any(torch.equal(one, other) for one, other in zip(trained, tested, strict=True))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "blocks"])
def test_a_kind_comes_in_clearly_different_colours(kind: str) -> None:
    """More different than the light alone makes them: that varies from 0.8 to 1.15."""
    black = torch.zeros(3, 112, 112, dtype=torch.uint8)
    colours = []
    for seed in range(40):
        covered, mask = draw_occluder(black, None, kind, generator(seed))
        colours.append(covered[:, mask[0] == 0].float().mean(1))
    drawn = torch.stack(colours)
    assert (drawn.amax(0) / drawn.amin(0)).max() > 1.15 / 0.8 * 1.2


def test_an_edge_is_blended_by_its_opacity() -> None:
    """On black and on white the same drawing leaves 1 - mask of itself: image = mask * below + drawing."""
    black, white = (torch.full((3, 112, 112), value, dtype=torch.uint8) for value in (0, 255))
    for kind in KINDS:
        (on_black, mask), (on_white, _) = (draw_occluder(below, None, kind, generator(3)) for below in (black, white))
        difference = on_white.float() - on_black.float()
        assert (difference - 255 * mask).abs().max() <= 1, kind


def test_a_medical_mask_has_the_published_size_and_place() -> None:
    """Box: 4 x mouth width by 4 x nose-to-mouth, its middle 25 px above the mouth; seen at the scarf's sides, which lie
    1.2 half-widths from the middle."""
    landmarks = np.array([[50, 60], [62, 60], [56, 70], [51, 80], [61, 80]], np.float32)
    widths, middles = [], []
    for seed in range(200):
        _, mask = draw_occluder(face(), landmarks, "scarf", generator(seed))
        covered = np.flatnonzero((mask[0] < 0.5).any(0))
        widths.append(covered[-1] - covered[0] + 1)
        middles.append((covered[-1] + covered[0]) / 2)
    assert np.mean(widths) == pytest.approx(1.2 * 4 * 10 * 1.025, rel=0.15)
    assert np.mean(middles) == pytest.approx(56, abs=1.5)


def test_aligned_faces_have_the_published_landmarks() -> None:
    narrow, middle = aligned_landmarks(96, 112), np.array([8, 0])
    np.testing.assert_allclose(narrow[2:], [[48.0252, 71.7366], [33.5493, 92.3655], [62.7299, 92.2041]])
    np.testing.assert_allclose(aligned_landmarks(112, 112), narrow + middle, rtol=1e-6)
    np.testing.assert_allclose(aligned_landmarks(224, 224), 2 * (narrow + middle), rtol=1e-6)


def test_a_face_beside_the_image_is_left_alone() -> None:
    image, mask = draw_occluder(face(), TEMPLATE + np.float32(500), "sunglasses", generator())
    assert torch.equal(image, face())
    assert (mask == 1).all()


def test_an_image_of_twice_the_size_is_covered_alike() -> None:
    for kind in KINDS:
        small, large = (draw_occluder(face(size), None, kind, generator(5))[1][0] for size in (112, 224))
        halved = large.reshape(112, 2, 112, 2).mean((1, 3))
        assert (halved - small).abs().mean() < 0.02, kind
