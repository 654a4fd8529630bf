"""What is drawn on the pairs: known shares, either or both images, the same for every model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oaml_core.errors import EvaluationError
from oaml_core.evaluation.scoring.blocks import draw_blocks
from oaml_core.evaluation.scoring.conditions import CLEAN, condition_named, conditions_of
from oaml_core.evaluation.scoring.scores import score_conditions


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.9])
def test_blocks_cover_the_share_that_was_asked_for(share):
    grey = torch.full((3, 112, 112), 128, dtype=torch.uint8)
    for seed in range(20):
        image, visible = draw_blocks(grey, share, np.random.default_rng(seed))
        assert 1 - float(visible.mean()) == pytest.approx(share, abs=0.02)
        assert torch.equal(image[:, visible[0] == 1], grey[:, visible[0] == 1])
        assert not torch.equal(image[:, visible[0] == 0], grey[:, visible[0] == 0])


def test_blocks_grow_where_they_are():
    grey = torch.full((3, 112, 112), 128, dtype=torch.uint8)
    _, small = draw_blocks(grey, 0.2, np.random.default_rng(5))
    _, large = draw_blocks(grey, 0.5, np.random.default_rng(5))
    assert (large <= small).all()


def test_the_sweep_has_a_condition_for_each_cover_and_side():
    names = [condition.name for condition in conditions_of(["veil"], [0.1, 0.25], ["second", "both"])]
    assert names == ["clean", "veil", "blocks-10", "blocks-25", "veil-both", "blocks-10-both", "blocks-25-both"]
    assert [c.name for c in conditions_of(["veil"], [], ["both"])] == ["clean", "veil-both"]
    for condition in conditions_of(["veil", "blocks"], [0.1, 0.025], ["second", "both"]):
        assert condition_named(condition.name) == condition


def test_a_mistyped_condition_is_answered_with_the_nearest():
    with pytest.raises(EvaluationError, match="Did you mean 'surgical'"):
        condition_named("sirgical")


def test_covering_both_images_hurts_more_and_both_maps_are_judged(model, pairs):
    one, both = conditions_of([], [0.4], ["second", "both"])[1:]
    found = score_conditions(model, pairs.images, [CLEAN, one, both], batch_size=32)
    clean, second_only, doubled = found["clean"], found[one.name], found[both.name]
    np.testing.assert_allclose(doubled.covered_share, 0.4, atol=0.02)
    clean_gap, one_gap, both_gap = (
        scores.global_score[pairs.issame].mean() - scores.global_score[~pairs.issame].mean()
        for scores in (clean, second_only, doubled)
    )
    assert both_gap < one_gap < clean_gap
    assert (second_only.reliability[:, 0].sum(1) == 49).all()
    assert (doubled.reliability[:, 0].sum(1) == 98).all()
    np.testing.assert_allclose(doubled.reliability[:, 2].sum(1) / 98, 1 - doubled.covered_share, atol=1e-5)


def test_the_first_image_has_another_drawing_than_the_second(pairs):
    (condition,) = conditions_of(["surgical"], [], ["both"])[1:]
    images = torch.from_numpy(pairs.images[:4]).permute(0, 3, 1, 2)
    _, first = condition.apply(images, np.arange(4), None, side=0)
    _, second = condition.apply(images, np.arange(4), None, side=1)
    assert all(not torch.equal(a, b) for a, b in zip(first, second, strict=True))
