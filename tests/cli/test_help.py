"""What `--help` and `--help-config` show."""

from __future__ import annotations

import dataclasses
import re

import pytest

from oaml_core.cli import main
from oaml_core.cli.help import config_help
from oaml_core.cli.program import COMMANDS
from oaml_core.config import Config
from oaml_core.errors import ConfigError

SECTIONS = [f.name for f in dataclasses.fields(Config) if dataclasses.is_dataclass(f.default_factory)]


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_explains_its_own_options_on_one_page(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, command, "--help")
    assert len(text.splitlines()) <= 30
    assert COMMANDS[command].purpose in text
    assert "--help-config" in text


def test_every_option_of_a_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "identify", "--help")
    for option in ("PROBE", "--gallery", "--onnx", "--checkpoint", "--far", "--top", "--out"):
        assert option in text


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            "gallery",
            ("add", "ls", "rm", "merge", "rename", "move", "split", "replace", "verify", "rebuild", "rekey", "export"),
        ),
        ("restore", ("tiles", "train", "apply", "evaluate")),
        ("nightly", ("status", "resume")),
        ("store", ("ls", "get", "put", "verify", "link", "pin", "unpin", "gc")),
    ],
)
def test_every_word_that_an_action_may_be_is_listed(
    command: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    # A description ends where the next option begins, two blanks into its line.
    described = re.split(r"\n  (?=\S)", shown(capsys, command, "--help").partition("  action ")[2])[0]
    assert [word for word in words if not re.search(rf"\b{word}\b", described)] == []


@pytest.mark.parametrize("section", [None, *SECTIONS])
def test_every_key_has_a_description_and_its_default(section: str | None) -> None:
    text = config_help(section)
    cls = Config if section is None else next(f for f in dataclasses.fields(Config) if f.name == section)
    owner = Config if section is None else cls.default_factory  # type: ignore[union-attr]
    lines = text.splitlines()
    for field in dataclasses.fields(owner):  # type: ignore[arg-type]
        if dataclasses.is_dataclass(field.default_factory):
            continue
        key = field.name if section is None else f"{section}.{field.name}"
        place = next(i for i, line in enumerate(lines) if line.startswith(f"  --{key} "))
        assert "default: " in lines[place]
        assert lines[place + 1].startswith("      "), f"{key} has no description"


def test_a_section_that_is_not_there_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="train"):
        config_help("trian")


def test_recipes_are_found_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert "batch_size: 512" in shown(capsys, "train", "--config", "ir50_ms1mv2", "--print-config")
    with pytest.raises(SystemExit):
        main(["train", "--config", "ir50_ms1mv"])
    assert "ir50_ms1mv2" in capsys.readouterr().err
