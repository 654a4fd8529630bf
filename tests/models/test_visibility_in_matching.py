"""Matching without visibility, and matching that teaches the visibility map."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from oaml_core.config import Config, LossConfig, ModelConfig
from oaml_core.errors import ConfigError
from oaml_core.models.build import build_matcher
from oaml_core.models.matcher import Matcher

NAMES = ["qaconv", "transmatcher", "pooled", "pooled_alone"]


def built(name: str, **settings: object) -> Matcher:
    torch.manual_seed(0)
    return build_matcher(ModelConfig(matcher=name, **settings), 16, (3, 3))  # type: ignore[arg-type]


def inputs(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.randn(3, 16, 3, 3), torch.randn(4, 16, 3, 3), torch.rand(3, 1, 3, 3), torch.rand(4, 1, 3, 3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("gradient", [True, False])
def test_weighting_none_compares_all_places_alike(name: str, gradient: bool) -> None:
    probe, gallery, v, u = inputs()
    matcher = built(name, weighting="none").eval()
    other = built(name, weighting="evidence").eval()
    with torch.set_grad_enabled(gradient):
        scores = matcher.match(probe, gallery, v, u)
        torch.testing.assert_close(scores, other.match(probe, gallery))
        torch.testing.assert_close(matcher.match_pairs(probe, gallery[:3], v, u[:3]), scores[:, :3].diagonal())
        assert not torch.allclose(scores, other.match(probe, gallery, v, u))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weighting", ["evidence", "multiply"])
def test_gradients_reach_the_visibility_map_where_the_configuration_says_so(name: str, weighting: str) -> None:
    probe, gallery, v, u = inputs()
    for wanted in (True, False):
        matcher = built(name, weighting=weighting, matching_trains_visibility=wanted).train()
        seen = v.clone().requires_grad_()
        matcher.match(probe, gallery, seen, u).square().sum().backward()
        moved = seen.grad is not None and bool(seen.grad.abs().sum() > 0)
        assert moved == wanted


@pytest.mark.parametrize("name", NAMES)
def test_teaching_the_visibility_map_changes_no_score_and_no_statistic(name: str) -> None:
    probe, gallery, v, u = inputs()
    scores, states = [], []
    for taught in (True, False):
        matcher = built(name, matching_trains_visibility=taught).train()
        scores.append(matcher.match(probe, gallery, v.clone().requires_grad_(), u).detach())
        states.append(dict(matcher.state_dict()))
    torch.testing.assert_close(scores[0], scores[1])
    torch.testing.assert_close(states[0], states[1])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("weighting", ["evidence", "multiply"])
def test_visibility_gradients_of_qaconv_are_those_of_finite_differences(weighting: str, training: bool) -> None:
    probe, gallery, v, u = (x.double() for x in inputs(3))
    matcher = built("qaconv", weighting=weighting, matching_trains_visibility=True).double().train(training)

    def scores(v: Tensor, u: Tensor) -> Tensor:
        return matcher.match(probe, gallery, v, u)

    assert torch.autograd.gradcheck(scores, (v.requires_grad_(), u.requires_grad_()))
    assert torch.autograd.gradcheck(lambda v: matcher.match(probe, probe, v, v), (v,))


@pytest.mark.parametrize(
    "config",
    [
        {"model": ModelConfig(weighting="none", matching_trains_visibility=True)},
        {
            "model": ModelConfig(matching_trains_visibility=True),
            "loss": LossConfig(matching_visibility="drawn"),
        },
    ],
)
def test_gradients_into_a_map_that_matching_does_not_use_are_refused(config: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"matching_trains_visibility has no effect"):
        Config(**config)  # type: ignore[arg-type]
