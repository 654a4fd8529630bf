"""Other colours and prints of occluders: what they change, and what they leave alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from test_cutouts import GREY, cutout, generator

from oaml_core.config import AugmentConfig
from oaml_core.data.augment.dye import dye_from, dyed
from oaml_core.data.augment.occlusion import TEMPLATE, draw_occluder
from oaml_core.data.augment.placing import Draws
from oaml_core.data.augment.transforms import TrainTransform

NOISE = torch.randint(0, 256, GREY.shape, generator=torch.Generator().manual_seed(5), dtype=torch.uint8)


def test_a_dye_changes_colours_and_neither_place_nor_what_stays_visible() -> None:
    colours = []
    for seed in range(8):
        plain, mask = draw_occluder(NOISE, None, "surgical", generator(seed), natural=True, shadow_prob=0)
        other, same = draw_occluder(NOISE, None, "surgical", generator(seed), natural=True, shadow_prob=0, dye_prob=1)
        assert torch.equal(mask, same)
        seen, hidden = mask[0] == 1, mask[0] == 0
        assert torch.equal(plain[:, seen], other[:, seen])
        assert not torch.equal(plain[:, hidden], other[:, hidden])
        colours.append(other[:, hidden].float().mean(1))
    assert torch.stack(colours).std(0).min() > 15, "Eight dyes of one mask look alike"


def test_a_hand_keeps_the_colour_of_the_persons_skin() -> None:
    for seed in range(4):
        plain, _ = draw_occluder(NOISE, None, "hand", generator(seed), natural=True)
        dyed_hand, _ = draw_occluder(NOISE, None, "hand", generator(seed), natural=True, dye_prob=1)
        assert torch.equal(plain, dyed_hand)


def test_dyed_colours_stay_within_their_opacity() -> None:
    """Colours are multiplied by opacity: more of one than that would overflow where the picture is laid on."""
    opacity = np.linspace(0, 255, 20 * 30, dtype=np.float32).reshape(20, 30)
    colours = np.random.default_rng(0).random((3, 20, 30), np.float32) * opacity
    places = torch.rand(1, 2, 20, 30, generator=generator()) * 2 - 1
    printed = 0
    for seed in range(40):
        dye = dye_from(Draws(generator(seed)))
        found = dyed(colours, opacity, places, dye)
        assert found.min() >= 0
        assert (found <= opacity).all()
        assert np.isfinite(found).all()
        printed += dye.fields is not None
    assert 10 < printed < 35


def test_a_users_own_picture_is_dyed_too(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    cutout((250, 0, 250)).save(path)
    looks = set()
    for seed in range(6):
        config = AugmentConfig(flip_prob=0, mask_prob=1, dye_prob=1, occluders=(), mask_images=(str(path),))
        image, mask = TrainTransform(config)(GREY, TEMPLATE, seed)
        looks.add(tuple(image[:, mask[0] == 0].float().mean(1).round().tolist()))
    assert len(looks) == 6
