"""A value that cannot be is refused in words, without the names of Python's types."""

from __future__ import annotations

import re

import pytest

from oaml_core.cli.program import COMMANDS
from oaml_core.errors import ConfigError
from oaml_core.settings import config_parser, load_config, parse_config

JARGON = re.compile(r"<class|typing|Literal|NoneType|Parser key|PositiveFloat|conform|subtype")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("nightly.drift", "stopp", "nightly.drift takes off, warn or stop, not stopp. Did you mean 'stop'?"),
        ("nightly.drift_images", "3.5", "nightly.drift_images takes a whole number, not 3.5."),
        ("data.align", "maybe", "data.align takes true or false, not maybe."),
        ("train.compile", "mabye", "train.compile takes true or false or auto, not mabye."),
        ("train.nproc", "two", "train.nproc takes a whole number or null, not two."),
        ("optim.lr_at_rms", "x", "optim.lr_at_rms takes a number or null, not x."),
        ("optim.lr_milestones", "8,12", "optim.lr_milestones takes a list such as [a, b], not 8,12."),
        ("evaluate.far", "[x]", "evaluate.far takes a number, not x."),
        ("export.variants", "[fp8]", "export.variants takes fp16 or int8, not fp8. Did you mean 'fp16'?"),
        ("augment.crop_area", "[1]", "augment.crop_area takes a list of 2 values, not [1]."),
    ],
)
def test_a_value_of_the_configuration_is_refused_in_words(key: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(None, [f"--{key}", value])
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        ("export", [], "--checkpoint, --metrics are missing."),
        ("model", ["add", "model.onnx"], "--licence is missing."),
        ("identify", [], "probe, --gallery are missing."),
        ("nightly", ["status", "--hours", "0"], "hours takes a number above 0, not 0."),
        ("nightly", ["status", "--hours", "soon"], "hours takes a number above 0, not soon."),
        ("inspect", ["--count", "-1"], "count takes a whole number above 0, not -1."),
    ],
)
def test_a_value_of_an_option_is_refused_in_words(command: str, words: list[str], said: str) -> None:
    parser = config_parser("oaml", "test")
    options = COMMANDS[command].options
    assert options is not None
    options(parser)
    with pytest.raises(ConfigError) as refused:
        parse_config(parser, words)
    assert str(refused.value) == said
    assert not JARGON.search(str(refused.value))
