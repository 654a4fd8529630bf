"""Local layers on a frozen backbone: what they learn from, and what stays as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from oaml_core.config import Config, LossConfig, ModelConfig, OptimConfig
from oaml_core.data.batches.training_faces import TrainingBatch
from oaml_core.errors import ConfigError
from oaml_core.models.build import build_backbone
from oaml_core.models.matcher import Matcher
from oaml_core.models.pooled import Pooled
from oaml_core.registry import MATCHERS
from oaml_core.training.averaged_weights import AveragedWeights, build_average
from oaml_core.training.module import RecognitionModule
from oaml_core.training.optimisation import build_optimiser, set_learning_rate
from oaml_core.training.world import World

ADAPT = LossConfig(
    adaface_loss_weight=0,
    qaconv_loss_weight=1,
    distillation_loss_weight=20,
    common_distillation_loss_weight=20,
    pairwise_gradient_share=0.1,
    matching_visibility="drawn",
)


def batch(labels: tuple[int, ...] = (0, 0, 1, 1)) -> TrainingBatch:
    generator = torch.Generator().manual_seed(0)
    count = len(labels)
    clean = torch.randint(0, 256, (count, 3, 112, 112), generator=generator, dtype=torch.uint8)
    covered, visibility = clean.clone(), torch.ones(count, 1, 7, 7)
    covered[:, :, 64:] = 40
    visibility[:, :, 4:] = 0
    return TrainingBatch(covered, visibility, torch.tensor(labels), torch.arange(count), clean=clean)


def adapting(folder: Path) -> Config:
    """Local layers and pooled matcher on a small frozen backbone, whose weights it writes into `folder`."""
    torch.manual_seed(0)
    weights = folder / "backbone.pt"
    torch.save(build_backbone("ir_mini", width=4).state_dict(), weights)
    model = ModelConfig(
        arch="ir_mini", width=4, weights=str(weights), freeze_backbone=True, local_layers=2, matcher="pooled"
    )
    optim = OptimConfig(optimiser="adamw", lr=1e-3, matcher_scale_lr=30, gradient_clip_norm=5)
    return Config(model=model, loss=ADAPT, optim=optim)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return adapting(tmp_path)


def module_of(config: Config) -> RecognitionModule:
    torch.manual_seed(1)
    return RecognitionModule(config, 2, World(0, 1, 0, 1)).train()


def test_before_training_an_uncovered_face_is_at_no_distance(config: Config) -> None:
    given = batch()
    whole = given._replace(images=given.clean, visibility=torch.ones(4, 1, 7, 7))

    module = module_of(replace(config, loss=replace(ADAPT, qaconv_loss_weight=0)))  # matching would move the mean
    untouched, covered = module.training_step(whole).terms, module.training_step(given).terms

    for term in ("distillation", "common_distillation"):
        assert float(untouched[term]) == pytest.approx(0, abs=1e-5)
        assert float(covered[term]) > 0.01


def test_training_brings_covered_faces_closer_and_leaves_embedding_and_statistics_alone(config: Config) -> None:
    module, given = module_of(config), batch()
    optimiser = build_optimiser(config, module)
    set_learning_rate(optimiser, 1e-3)
    assert given.clean is not None
    before = module.recogniser.describe_globally(given.clean)
    statistics = [b.clone() for b in module.recogniser.local_layers.buffers()]
    totals = []
    for _ in range(12):
        terms = module.training_step(given).terms
        totals.append(float(terms["distillation"] + terms["common_distillation"]))
        optimiser.zero_grad()
        module.total(terms).backward()
        optimiser.step()

    assert totals[-1] < 0.7 * totals[0]
    assert torch.equal(module.recogniser.describe_globally(given.clean), before)
    assert all(map(torch.equal, statistics, module.recogniser.local_layers.buffers()))


def test_the_frozen_end_of_the_backbone_is_left_out_in_training_and_nothing_else_changes(config: Config) -> None:
    given, found = batch(), {}
    for leaves_out in (True, False):
        module = module_of(config)
        assert module.recogniser.learns_locally_alone
        module.recogniser.learns_locally_alone = leaves_out
        seen: list[int] = []
        layers = module.recogniser.backbone.layers()
        layers[-1].register_forward_hook(lambda *_, seen=seen: seen.append(1))
        result = module.training_step(given)
        module.total(result.terms).backward()
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        found[leaves_out] = result.terms, gradients, len(seen)

    (terms, gradients, passes), (same_terms, same_gradients, more_passes) = found[True], found[False]
    torch.testing.assert_close(terms, same_terms)
    torch.testing.assert_close(gradients, same_gradients)
    assert passes == more_passes - 1


def test_faces_pooled_alone_learn_by_the_same_terms(config: Config) -> None:
    alone = replace(
        config,
        model=replace(config.model, matcher="pooled_alone"),
        loss=replace(ADAPT, common_distillation_loss_weight=0.0),
    )
    module, given = module_of(alone), batch()
    optimiser = build_optimiser(alone, module)
    set_learning_rate(optimiser, 1e-3)
    distances = []
    for _ in range(12):
        terms = module.training_step(given).terms
        distances.append(float(terms["distillation"]))
        optimiser.zero_grad()
        module.total(terms).backward()
        optimiser.step()
    assert set(terms) == {"qaconv", "distillation", "visibility"}
    assert distances[-1] < 0.7 * distances[0]


def test_the_matching_loss_reaches_the_maps_with_its_share_alone(config: Config) -> None:
    def gradients(share: float) -> tuple[torch.Tensor, torch.Tensor]:
        module = module_of(replace(config, loss=replace(ADAPT, pairwise_gradient_share=share)))
        module.training_step(batch()).terms["qaconv"].backward()
        weight = next(p for p in module.recogniser.local_layers.parameters() if p.ndim > 1)
        return weight.grad, module.recogniser.matcher.scale.grad

    (whole, scale), (part, same_scale) = gradients(1.0), gradients(0.1)
    torch.testing.assert_close(part, 0.1 * whole, rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(same_scale, scale)


def test_the_scale_of_scores_has_a_learning_rate_of_its_own(config: Config) -> None:
    module = module_of(config)
    optimiser = build_optimiser(config, module)
    set_learning_rate(optimiser, 0.01)
    rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    assert rates[id(module.recogniser.matcher.scale)] == pytest.approx(0.3)
    assert rates[id(module.recogniser.matcher.projection)] == pytest.approx(0.01)


def test_small_pretrained_weights_move_in_proportion_to_their_start(config: Config) -> None:
    config = replace(config, optim=replace(config.optim, lr_at_rms=0.1))
    module = module_of(config)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(0.01 / parameter.square().mean().sqrt() if parameter.ndim > 1 else 1)
        module.recogniser.matcher.projection.mul_(20)
    optimiser = build_optimiser(config, module)
    set_learning_rate(optimiser, 0.01)
    rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    assert len(rates) == sum(p.requires_grad for p in module.parameters())
    for name, parameter in module.recogniser.named_parameters():
        if parameter.requires_grad:
            small = name.startswith("local_layers") and parameter.ndim > 1
            factor = 30 if name in ("matcher.scale", "matcher.shift") else 0.1 if small else 1
            assert rates[id(parameter)] == pytest.approx(0.01 * factor), name


def test_adamw_leaves_out_the_step_that_it_is_told_to(config: Config) -> None:
    module = module_of(config)
    optimiser = build_optimiser(config, module)
    module.total(module.training_step(batch()).terms).backward()
    optimiser.step()
    before = [p.detach().clone() for p in module.parameters()]

    optimiser.left_out = torch.tensor(1.0)  # type: ignore[attr-defined]
    optimiser.step()
    assert all(map(torch.equal, before, module.parameters()))

    optimiser.step()
    assert not all(map(torch.equal, before, module.parameters()))


@pytest.mark.parametrize("matcher", MATCHERS.own)
def test_distillation_is_refused_without_pooled_embeddings_alone(matcher: str) -> None:
    model = ModelConfig(matcher=matcher)
    if MATCHERS.get(matcher).pools:
        assert Config(model=model, loss=ADAPT).loss.distils
    else:
        with pytest.raises(ConfigError, match=r"model\.matcher pooled or pooled_alone, not " + matcher):
            Config(model=model, loss=ADAPT)


def test_distillation_teaches_a_registered_matcher_that_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(Pooled):
        """A pooled matcher of somebody else."""

    monkeypatch.setattr(MATCHERS, "_found", {})
    MATCHERS.register("own")(Own)
    assert Config(model=ModelConfig(matcher="own"), loss=ADAPT).model.matcher == "own"
    MATCHERS.register("other")(Matcher)
    with pytest.raises(ConfigError, match="pooled or pooled_alone or own, not other"):
        Config(model=ModelConfig(matcher="other"), loss=ADAPT)


def test_the_average_follows_the_weights_and_comes_back_from_a_checkpoint() -> None:
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 2)
    start = module.weight.detach().clone()
    average = AveragedWeights(module, 0.5, 0.25)
    for value in (1.0, 2.0):
        with torch.no_grad():
            module.weight.fill_(value)
        average.update()

    # d is 0.1 in the first step and 2/11 in the second.
    mean = torch.lerp(torch.lerp(start, torch.tensor(1.0), 0.9), torch.tensor(2.0), 1 - 2 / 11)
    torch.testing.assert_close(average.weights()["weight"], 0.75 * mean + 0.25 * start)

    resumed = AveragedWeights(torch.nn.Linear(3, 2), 0.5, 0.25)
    resumed.load_state_dict(average.state_dict())
    torch.testing.assert_close(resumed.weights()["weight"], average.weights()["weight"])
    own = average.swap_in()
    torch.testing.assert_close(module.weight.detach(), average.weights()["weight"])
    average.swap_out(own)
    assert bool((module.weight == 2.0).all())


def test_what_starts_at_random_is_not_mixed_in_again() -> None:
    torch.manual_seed(0)
    module = torch.nn.ModuleDict({"visibility_head": torch.nn.Linear(2, 1), "local_layers": torch.nn.Linear(2, 1)})
    start = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    average = build_average(module, 0.0, 0.3)
    assert average is not None
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(5.0)
    average.update()

    used = average.weights()
    assert bool((used["visibility_head.weight"] == 5).all())
    torch.testing.assert_close(used["local_layers.weight"], 0.7 * 5 + 0.3 * start["local_layers.weight"])
