"""Flat options of earlier scripts: read by the key that they mean, or answered."""

from __future__ import annotations

import dataclasses

import pytest

from oaml_core.config import Config
from oaml_core.config.flat_names import KEYS, SWITCHES
from oaml_core.errors import ConfigError
from oaml_core.settings import load_config

OF_COMMANDS = {"checkpoint"}


def test_flat_options_are_read_by_the_keys_that_they_mean() -> None:
    words = (
        "--batch_size 64 --arch=ir_18 --use_16bit --lr_milestones 3,4 --pk_sampler --num_instances 8 "
        "--occlusion_loss_weight 0.3 --train_data_path faces --head arcface --batch-size 128 "
        "--use_occlusion_weighting True"
    )
    config = load_config(None, words.split())
    assert (config.data.batch_size, config.data.num_instances, config.data.sampler) == (128, 8, "pk")
    assert (config.model.arch, config.model.head, config.model.weighting) == ("ir_18", "arcface", "multiply")
    assert (config.optim.lr_milestones, config.train.precision) == ((3, 4), "fp16")
    assert (config.loss.visibility_loss_weight, config.data.source) == (0.3, "faces")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--resume_from_checkpoint", "a.ckpt"], "goes on from its newest"),
        (["--start_from_model_statedict", "a.ckpt"], r"--model\.weights"),
        (["--distributed_backend", "ddp"], r"train\.nproc"),
        (["--pk_sampler", "false"], r"--data\.sampler"),
    ],
)
def test_flat_options_without_a_key_are_answered(words: list[str], answer: str) -> None:
    with pytest.raises(ConfigError, match=answer):
        load_config(None, words)


def test_every_flat_option_means_a_key_that_exists() -> None:
    def leaves(node: object, prefix: str = "") -> set[str]:
        found = set()
        for field in dataclasses.fields(node):  # type: ignore[arg-type]
            value = getattr(node, field.name)
            name = prefix + field.name
            found |= leaves(value, f"{name}.") if dataclasses.is_dataclass(value) else {name}
        return found

    assert {*KEYS.values(), *(key for key, _ in SWITCHES.values())} - OF_COMMANDS <= leaves(Config())
