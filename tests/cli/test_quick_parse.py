"""A command line without keys of sections is read the same way with and without the parser of all keys."""

from __future__ import annotations

import pytest

from oaml_core.cli.program import COMMANDS
from oaml_core.cli.quick_parse import quick_config
from oaml_core.settings import config_parser, parse_config

LINES = [
    ("match", "a.jpg", "b.jpg"),
    ("match", "a.jpg", "b.jpg", "--store", "s3://b/p", "--far", "1e-3", "--aligned", "--out=x.png"),
    ("identify", "p.jpg", "--gallery", "people", "--top", "3", "--work_dir", "w", "--cache_gb", "2"),
    ("align", "in", "out", "--workers", "2", "--every", "--seed", "3"),
    ("gallery", "add", "g", "people", "--person", "Ann", "--face", "central"),
    ("model", "add", "m.onnx", "--licence", "MIT", "--name", "mine"),
]
WHOLE = [
    ("match", "a.jpg", "b.jpg", "--data.image_size", "96"),
    ("match", "a.jpg", "b.jpg", "--batch_size", "8"),
    ("match", "a.jpg", "b.jpg", "--config", "demo"),
    ("match", "a.jpg", "b.jpg", "--nothing", "1"),
    ("match", "a.jpg"),
    ("align", "in", "out", "--workers", "many"),
]


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_both_parsers_read_the_same(line: tuple[str, ...]) -> None:
    name, *words = line
    found = quick_config(f"oaml {name}", COMMANDS[name].options, words)
    assert found is not None, "no key of a section, no need of them"
    parser = config_parser(f"oaml {name}", "")
    COMMANDS[name].options(parser)
    config, values = parse_config(parser, words)
    assert found[0] == config
    quick = vars(found[1])
    assert quick == {key: value for key, value in vars(values).items() if key in quick}


@pytest.mark.parametrize("line", WHOLE, ids=" ".join)
def test_what_needs_all_keys_or_better_words_is_left_to_the_whole_parser(line: tuple[str, ...]) -> None:
    assert quick_config("oaml", COMMANDS[line[0]].options, line[1:]) is None
