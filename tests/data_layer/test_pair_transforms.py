"""Single transforms: what moves an image moves its mask and landmarks; what covers it says so in the mask."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from oaml_core.data.augment.augmenter import Augmenter
from oaml_core.data.augment.geometry import Misalignment, PhotographEdge, RandomFlip, RandomSizedRectCrop, RectScale
from oaml_core.data.augment.occlusion import TEMPLATE
from oaml_core.data.augment.occlusion_transforms import MedicalMaskOcclusion, SyntheticOcclusion
from oaml_core.data.augment.pair_transform import PairTransform
from oaml_core.data.augment.rectangles import RandomErasing, RandomOcclusion
from oaml_core.visibility import resize_visibility

Make = Callable[[torch.Generator], PairTransform]
MOVING: dict[str, Make] = {
    "flip": lambda g: RandomFlip(1.0, g),
    "crop": lambda g: RandomSizedRectCrop(112, 112, generator=g),
    "misalignment": lambda g: Misalignment(1.0, g),
}
COVERING: dict[str, Make] = {
    "medical mask": lambda g: MedicalMaskOcclusion(p=1.0, generator=g),
    "blocks": lambda g: SyntheticOcclusion(p=1.0, generator=g),
    "square": lambda g: RandomOcclusion(1.0, g),
    "erasing": lambda g: RandomErasing(1.0, g),
    "zero-padded crop": lambda g: Augmenter(1.0, generator=g),
}
EVERY = (
    MOVING
    | COVERING
    | {
        "quality": lambda g: Augmenter(1.0, 1.0, 1.0, generator=g),
        "edge": lambda g: PhotographEdge(1.0, g),
    }
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sample(height: int = 112, width: int = 112) -> dict[str, Any]:
    """A smooth image whose red channel is the mask, with landmarks: whatever moves them alike keeps them alike."""
    mask = torch.zeros(1, height, width)
    mask[:, height // 4 : height // 2, width // 8 : width // 2] = 1
    image = torch.full((3, height, width), 90, dtype=torch.uint8)
    image[0] = (mask[0] * 255).to(torch.uint8)
    points = tv_tensors.KeyPoints(torch.from_numpy(TEMPLATE.copy()), canvas_size=(height, width))
    return {"image": tv_tensors.Image(image), "mask": tv_tensors.Mask(mask), "landmarks": points, "label": 7}


@pytest.mark.parametrize("name", MOVING)
def test_a_mask_stays_on_its_image(name: str) -> None:
    for seed in range(20):
        moved = MOVING[name](generator(seed))(sample())
        assert isinstance(moved["mask"], tv_tensors.Mask)
        assert moved["label"] == 7
        red = moved["image"][0].float() / 255
        assert (red - moved["mask"][0]).abs().max() < 0.01
        assert not torch.equal(moved["mask"], sample()["mask"])


@pytest.mark.parametrize("name", MOVING)
def test_landmarks_stay_on_their_face(name: str) -> None:
    """A bright spot at the left eye is where the landmark of one of the eyes is afterwards."""
    for seed in range(10):
        given = sample()
        x, y = TEMPLATE[0].round().astype(int)
        given["image"] = tv_tensors.Image(torch.zeros(3, 112, 112, dtype=torch.uint8))
        given["image"][:, y - 1 : y + 2, x - 1 : x + 2] = 255
        moved = MOVING[name](generator(seed))(given)
        place = moved["image"][0].float()
        total = place.sum()
        if total < 2000:  # cut off
            continue
        spot = torch.stack([(place.sum(0) * torch.arange(112)).sum(), (place.sum(1) * torch.arange(112)).sum()]) / total
        eyes = moved["landmarks"][:2].as_subclass(Tensor)
        assert (eyes - spot).norm(dim=1).min() < 1.5


def test_beyond_the_edge_of_a_photograph_nothing_is_visible() -> None:
    """The image is black there or repeats the edge, and is as it was everywhere else."""
    image = torch.arange(1, 113, dtype=torch.uint8).expand(3, 112, 112)
    fills = set()
    for seed in range(40):
        given = {"image": tv_tensors.Image(image), "mask": tv_tensors.Mask(torch.ones(1, 112, 112))}
        shown = PhotographEdge(1.0, generator(seed))(given)
        beyond = shown["mask"][0] == 0
        assert torch.equal(shown["image"][:, ~beyond], given["image"][:, ~beyond])
        assert beyond.float().mean() < 0.6
        assert not beyond[45:85, 45:68].any()
        if beyond.any():
            black = not shown["image"][:, beyond].any()
            fills.add(black)
            assert black or shown["image"].min() > 0
    assert fills == {True, False}


def test_a_mirrored_face_has_its_left_eye_on_the_left_again() -> None:
    flip = RandomFlip(1.0, generator())
    mirrored = flip(sample())
    assert mirrored["landmarks"][0, 0] < mirrored["landmarks"][1, 0]
    assert mirrored["landmarks"][3, 0] < mirrored["landmarks"][4, 0]
    back = flip(mirrored)
    assert torch.equal(back["image"], sample()["image"])
    np.testing.assert_allclose(back["landmarks"].numpy(), TEMPLATE, atol=1e-4)


@pytest.mark.parametrize("name", COVERING)
def test_what_is_covered_is_not_visible_and_the_rest_is_as_it_was(name: str) -> None:
    for seed in range(20):
        given = sample()
        given["mask"] = tv_tensors.Mask(torch.ones(1, 112, 112))
        shown = COVERING[name](generator(seed))(given)
        changed = (shown["image"] != given["image"]).any(0)
        assert not changed[shown["mask"][0] == 1].any()
        assert changed[shown["mask"][0] == 0].float().mean() > 0.8
        assert 0 < shown["mask"].mean() < 1
        assert torch.equal(shown["landmarks"], given["landmarks"])


@pytest.mark.parametrize("name", COVERING)
def test_what_was_covered_stays_covered(name: str) -> None:
    shown = COVERING[name](generator())(sample())
    assert (shown["mask"] <= sample()["mask"]).all()


@pytest.mark.parametrize("name", EVERY)
def test_a_generator_decides_everything_and_nothing_given_is_changed(name: str) -> None:
    given = sample()
    torch.manual_seed(1)
    one = EVERY[name](generator(3))(given)
    torch.manual_seed(2)
    again = pickle.loads(pickle.dumps(EVERY[name](generator(3))))(given)
    for part in ("image", "mask", "landmarks"):
        assert torch.equal(one[part], again[part])
        assert torch.equal(given[part], sample()[part])


def test_a_probability_is_kept() -> None:
    flip = RandomFlip(0.3, generator())
    flipped = sum(not torch.equal(flip(sample())["image"], sample()["image"]) for _ in range(300))
    assert 60 < flipped < 120


def test_they_mix_with_torchvisions_own() -> None:
    both = v2.Compose([RandomFlip(1.0, generator()), v2.Resize(56), SyntheticOcclusion(p=1.0, generator=generator())])
    image, mask, points, label = both(*sample().values())
    assert image.shape == (3, 56, 56)
    assert mask.shape == (1, 56, 56)
    assert points.canvas_size == (56, 56)
    assert label == 7


def test_scaling_averages_a_mask_over_area() -> None:
    scaled = RectScale(28, 56)(sample())
    assert scaled["image"].shape == (3, 28, 56)
    assert scaled["mask"].mean().item() == pytest.approx(sample()["mask"].mean().item(), abs=0.01)
    np.testing.assert_allclose(scaled["landmarks"].numpy(), TEMPLATE * [0.5, 0.25], rtol=1e-5)
    assert torch.equal(RectScale(112, 112)(sample())["image"], sample()["image"])


def test_sizes_are_the_published_ones() -> None:
    ones = tv_tensors.Mask(torch.ones(1, 112, 112))
    shares: dict[str, list[float]] = {"square": [], "erasing": [], "blocks": []}
    for seed in range(150):
        for name, found in shares.items():
            given = sample() | {"mask": ones}
            found.append(1 - COVERING[name](generator(seed))(given)["mask"].mean().item())
    assert 0.03 < min(shares["square"]) < 0.06 < 0.55 < max(shares["square"]) < 0.65
    assert 0.015 < min(shares["erasing"]) < 0.06 < 0.3 < max(shares["erasing"]) < 0.41
    assert max(shares["blocks"]) < 0.42


def test_blocks_are_exact_on_the_feature_map() -> None:
    given = sample() | {"mask": tv_tensors.Mask(torch.ones(1, 112, 112))}
    mask = SyntheticOcclusion(p=1.0, generator=generator(4))(given)["mask"].as_subclass(Tensor)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    covered = resize_visibility(mask[None], (7, 7))
    assert covered.sum().item() * 256 == mask.sum().item()


def test_without_landmarks_a_mask_goes_where_aligned_faces_have_their_mouth() -> None:
    bare = {"image": sample()["image"], "mask": tv_tensors.Mask(torch.ones(1, 112, 112))}
    known = bare | {"landmarks": sample()["landmarks"]}
    one, other = (MedicalMaskOcclusion(p=1.0, generator=generator(2))(given) for given in (bare, known))
    assert torch.equal(one["image"], other["image"])
    assert one["mask"][0, 90:95, 50:62].mean() < 0.1


def test_colours_change_and_low_resolution_loses_detail() -> None:
    noise = torch.randint(0, 256, (3, 112, 112), generator=generator(9), dtype=torch.uint8)
    given = {"image": tv_tensors.Image(noise), "mask": tv_tensors.Mask(torch.ones(1, 112, 112))}
    blurred = [Augmenter(0, 0, 1.0, generator=generator(seed))(given) for seed in range(9)]
    detail = [(shown["image"].float().std() / noise.float().std()).item() for shown in blurred]
    assert min(detail) < 0.8
    assert max(detail) <= 1.1
    coloured = [Augmenter(0, 1.0, 0, generator=generator(seed))(given) for seed in range(20)]
    means = [shown["image"].float().mean().item() for shown in coloured]
    assert min(means) < noise.float().mean() - 10 < noise.float().mean() + 10 < max(means)
    assert all((shown["mask"] == 1).all() for shown in blurred + coloured)


def test_a_sample_without_an_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one tv_tensors\.Image"):
        SyntheticOcclusion(p=1.0, generator=generator())(tv_tensors.Mask(torch.ones(1, 8, 8)))
