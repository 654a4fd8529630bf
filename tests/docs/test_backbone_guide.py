"""The commands of `docs/backbones.md` are accepted."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from oaml_core.settings import load_config

REPOSITORY = Path(__file__).parents[2]
COMMANDS = [
    line for line in (REPOSITORY / "docs" / "backbones.md").read_text().splitlines() if line.startswith("oaml train ")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_guide_has_keys_that_exist(command: str) -> None:
    _, _, option, recipe, *overrides = shlex.split(command)
    assert option == "--config"
    changed = load_config(REPOSITORY / recipe, overrides)
    assert changed != load_config(REPOSITORY / recipe)
