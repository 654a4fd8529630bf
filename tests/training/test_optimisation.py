"""Learning rates by the position alone, and weight decay where it belongs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from oaml_core.config import Config, DataConfig, OptimConfig
from oaml_core.errors import ConfigError
from oaml_core.settings import load_config
from oaml_core.training.optimisation import build_optimiser, learning_rate
from oaml_core.training.resume import step_seed
from oaml_core.training.step import accumulated

MULTISTEP = Config(optim=OptimConfig(epochs=4, lr=0.2, lr_milestones=(1, 3)))
COSINE = Config(optim=OptimConfig(epochs=4, lr=0.2, schedule="cosine", warmup_epochs=1.0))


def test_multistep_divides_at_the_start_of_its_epochs() -> None:
    rates = [learning_rate(MULTISTEP, batch, 10) for batch in (0, 9, 10, 29, 30, 39)]
    assert rates == pytest.approx([0.2, 0.2, 0.02, 0.02, 0.002, 0.002])


def test_cosine_rises_from_nothing_and_falls_to_nothing() -> None:
    rates = [learning_rate(COSINE, batch, 10) for batch in range(40)]
    assert rates[:10] == pytest.approx([0.2 * (batch + 1) / 11 for batch in range(10)])
    assert rates[10] == 0.2
    assert rates[25] == pytest.approx(0.1)
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))
    assert 0 < rates[-1] < 0.001


def test_lr_follows_the_images_of_a_step_where_asked() -> None:
    optim = replace(MULTISTEP.optim, scale_lr=True, accumulate_grad_batches=2)
    assert learning_rate(replace(MULTISTEP, data=DataConfig(batch_size=512), optim=optim), 0, 10) == pytest.approx(0.8)


def test_a_rate_by_the_size_of_weights_is_refused_where_steps_follow_the_gradient() -> None:
    with pytest.raises(ConfigError, match=r"optim.lr_at_rms is for optim.optimiser adamw"):
        load_config(None, ["--optim.lr_at_rms", "0.2"])
    assert load_config(None, ["--optim.lr_at_rms", "0.2", "--optim.optimiser", "adamw"]).optim.lr_at_rms == 0.2


def test_batch_norm_parameters_and_biases_are_not_decayed() -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
    decay = {
        id(parameter): group["weight_decay"]
        for group in build_optimiser(Config(), module).param_groups
        for parameter in group["params"]
    }
    found = {name: decay[id(parameter)] for name, parameter in module.named_parameters()}
    assert {name for name, value in found.items() if value} == {"0.weight", "2.weight"}


def test_the_last_step_of_an_epoch_takes_what_is_left() -> None:
    assert [accumulated(batch, 4, 10) for batch in (0, 3, 7, 8, 9)] == [
        (4, False),
        (4, True),
        (4, True),
        (2, False),
        (2, True),
    ]


def test_random_numbers_of_a_step_are_the_same_again_and_others_elsewhere() -> None:
    seeds = {step_seed(0, step, rank) for step in range(50) for rank in range(4)}
    assert len(seeds) == 200
    assert step_seed(0, 7, 2) == step_seed(0, 7, 2)
